"""docs/errors.md: its tables have every class of the tree, with what the code says of it."""

import re
from pathlib import Path

import pytest

from schemas.errors import (
    Busy,
    EngineCrashed,
    EngineHung,
    EventError,
    LayoutMismatch,
    LocalError,
    OperationDisabled,
    RequestError,
    ServiceUnreachable,
    TurnstreamError,
    UnknownOperation,
    WaitExpired,
    error_classes,
)
from schemas.failures import failure
from turnstream.settings import Settings

PAGE = Path(__file__).parents[2] / "docs" / "errors.md"
CLASSES = list(error_classes())
ROWS = re.findall(r"^\| `(\w+)` \| (.*) \| ([^|]+) \|$", PAGE.read_text(), re.MULTILINE)
LOST = {EngineCrashed, EngineHung}
"""An engine that was lost: the worker tries the job again itself."""
REFUSED = {UnknownOperation}
"""Besides errors of events: what a worker says of a record that it cannot take."""
ANSWERS = {Busy, LayoutMismatch, OperationDisabled, ServiceUnreachable, WaitExpired}
"""Of the infrastructure, but told to who calls or starts a process: no run ends with one."""


def http(cls: type[TurnstreamError]) -> str:
    if issubclass(cls, LocalError):
        return "-"
    return f"{cls.status}, again after {cls.retry_after} s" if cls.retry_after else str(cls.status)


def tried(cls: type[TurnstreamError]) -> str:
    if cls in LOST:
        return "at once, alone"
    delays = Settings(_env_file=None).retry_delays
    tiers = failure(cls).retries
    return "after " + ", ".join(_said(delays[tier], tiers.count(tier)) for tier in sorted(set(tiers))) if tiers else "-"


def _said(delay: float, times: int) -> str:
    said = f"{delay / 60:g} min" if delay >= 60 else f"{delay:g} s"
    return f"{said} ({times} times)" if times > 1 else said


def kept(cls: type[TurnstreamError]) -> str:
    if issubclass(cls, EventError) or cls in REFUSED:
        return "yes"
    return "yes" if failure(cls).operators and cls not in ANSWERS and not issubclass(cls, LocalError) else "-"


def test_the_tables_have_every_code_once():
    assert sorted(code for code, _, _ in ROWS) == sorted(cls.code for cls in CLASSES)


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.code)
def test_a_row_says_what_the_code_does(cls: type[TurnstreamError]):
    [said] = [facts for code, facts, _ in ROWS if code == cls.code]
    assert said == f"{http(cls)} | {failure(cls).fault} | {tried(cls)} | {kept(cls)}"


def test_the_delays_come_in_the_order_in_which_the_page_tells_them():
    assert all(list(failure(cls).retries) == sorted(failure(cls).retries) for cls in CLASSES)


def test_an_answer_to_a_call_ends_no_run():
    assert all(not failure(cls).retries for cls in ANSWERS | set(RequestError.__subclasses__()))
