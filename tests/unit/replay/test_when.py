"""A time, as people write one."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import ReplayRefused
from turnstream.replay.when import read_time

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "ago"),
    [
        ("2h", timedelta(hours=2)),
        ("7d", timedelta(days=7)),
        ("1.5H", timedelta(minutes=90)),
        (" 30 m ", timedelta(minutes=30)),
        ("45s", timedelta(seconds=45)),
        ("2w", timedelta(days=14)),
        ("now", timedelta()),
    ],
)
def test_so_long_ago(text: str, ago: timedelta) -> None:
    assert read_time(text, NOW) == NOW - ago


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2026-11-01T14:30Z", datetime(2026, 11, 1, 14, 30, tzinfo=UTC)),
        ("2026-11-01T14:30:15.250+02:00", datetime(2026, 11, 1, 12, 30, 15, 250_000, tzinfo=UTC)),
        ("2026-11-01 14:30", datetime(2026, 11, 1, 14, 30).astimezone()),  # that of this machine
        ("2026-11-01", datetime(2026, 11, 1).astimezone()),
        ("20261101T143000Z", datetime(2026, 11, 1, 14, 30, tzinfo=UTC)),
    ],
)
def test_iso_8601(text: str, at: datetime) -> None:
    assert read_time(text, NOW) == at


@pytest.mark.parametrize("text", ["", "yesterday", "2x", "-2h", "2026-13-01", "25:00", "999999999w", "0001-01-01", "h"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(ReplayRefused, match="is no time"):
        read_time(text, NOW)


@given(st.text(max_size=30))
def test_whatever_is_typed_is_a_time_or_refused(text: str) -> None:
    with suppress(ReplayRefused):
        assert read_time(text, NOW).tzinfo is UTC
