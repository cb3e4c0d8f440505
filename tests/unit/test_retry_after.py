from datetime import UTC, datetime

import pytest

from turnstream.retry_after import read_retry_after

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "header, seconds",
    [
        (None, None),
        ("", None),
        ("120", 120),
        ("-5", None),
        ("soon", None),
        ("9" * 400, 999_999_999),
        ("Fri, 01 May 2026 12:01:00 GMT", 60),
        ("Fri, 01 May 2026 11:00:00 GMT", 0),
        ("Fri, 99 May 2026 11:00:00 GMT", None),
        (f"Fri, 01 May {'9' * 30} 11:00:00 GMT", None),
        (f"Fri, 01 May 2026 11:00:00 +{'9' * 30}", None),
    ],
)
def test_retry_after(header, seconds):
    assert read_retry_after(header, NOON) == seconds
