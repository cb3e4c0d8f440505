"""Retry-After, by which whoever is called asks for a pause. https://www.rfc-editor.org/rfc/rfc9110#name-retry-after"""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime


def read_retry_after(header: str | None, now: datetime) -> float | None:
    """Seconds from now on, whether it says a number or a date; None where it says neither."""
    if not header:
        return None
    if header.isdecimal():
        return float(header[:9])
    try:
        date = parsedate_to_datetime(header)
    except (ValueError, OverflowError):  # a year or an offset of many digits
        return None
    return max((date.replace(tzinfo=date.tzinfo or UTC) - now).total_seconds(), 0.0)
