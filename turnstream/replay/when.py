"""A time, as people write one."""

import re
from datetime import UTC, datetime, timedelta

from schemas.errors import ReplayRefused

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_AGO = re.compile(rf"(\d{{1,9}}(?:\.\d+)?)\s*([{''.join(_UNITS)}])", re.IGNORECASE)


def read_time(text: str, now: datetime) -> datetime:
    """`2h` and `7d` are so long ago, `now` is now; else ISO 8601, a date or a date and time, without a zone that of this
    machine. In UTC. Raises ReplayRefused.
    """
    text = text.strip()
    try:
        if text.lower() == "now":
            return now.astimezone(UTC)
        if ago := _AGO.fullmatch(text):
            return now.astimezone(UTC) - timedelta(**{_UNITS[ago[2].lower()]: float(ago[1])})
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ReplayRefused(
            f"{text[:60]!r} is no time: write a date such as 2026-11-01, a time such as 2026-11-01T14:30Z, or how long ago "
            "it was, such as 2h or 7d"
        ) from None
