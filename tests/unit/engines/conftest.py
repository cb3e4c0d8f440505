"""What tests of the diarization engine start from, unless they bring their own."""

import pytest

from tests.support.engine import QuickModel, Shelf


@pytest.fixture
def model():
    return QuickModel()


@pytest.fixture
def shelf():
    return Shelf()
