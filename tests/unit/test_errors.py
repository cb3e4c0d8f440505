"""The tree of errors: codes are stable, unique, drawn in the module's docstring, and survive the wire."""

import pickle
import re

import pytest

from schemas import errors
from schemas.errors import ErrorInfo, InternalError, LocalError, TurnstreamError, error_classes, from_info

CLASSES = list(error_classes())


def test_codes_are_unique():
    codes = [cls.code for cls in CLASSES]
    assert len(codes) == len(set(codes)) > 30


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.code)
def test_the_drawing_shows_each_class_with_its_status_and_code(cls: type[TurnstreamError]):
    status = "" if issubclass(cls, LocalError) else f"{cls.status} "  # those are never sent
    assert re.search(rf"── {cls.__name__} +{status}{cls.code}\n", errors.__doc__ + "\n")


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.code)
def test_an_error_survives_the_wire_and_a_process_border(cls: type[TurnstreamError]):
    error = cls("because of this")
    assert type(from_info(ErrorInfo.model_validate_json(error.info.model_dump_json()))) is cls
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    assert (type(copy), copy.detail) == (cls, "because of this")


def test_a_code_of_a_later_release_keeps_its_words():
    error = from_info(ErrorInfo(code="from_the_future", detail="flux"))
    assert isinstance(error, InternalError)
    assert error.detail == "from_the_future: flux"


def test_without_detail_the_title_speaks():
    assert errors.JobNotFound().info.detail == errors.JobNotFound.title
