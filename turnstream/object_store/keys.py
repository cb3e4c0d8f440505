"""Which keys every adapter takes: the ones that are also a path inside a directory, on every system."""

from turnstream.object_store.base import BadKey

KEY_LIMIT = 1024
"""Bytes of a whole key: the limit of S3."""
PART_LIMIT = 255
"""Bytes between two slashes: the limit of file systems."""


def check_key(key: str) -> None:
    """Raises BadKey. A part must not begin with a dot: such names are the adapters' own."""
    for part in key.split("/"):
        if not part:
            raise BadKey(f"{key!r} is empty, absolute, or has an empty part")
        _check_part(key, part)
    _check_length(key, key)


def check_prefix(prefix: str) -> None:
    """Raises BadKey. The last part of a prefix may be empty or end inside a name."""
    *parts, last = prefix.split("/")
    if parts:
        check_key("/".join(parts))
    _check_part(prefix, last)
    _check_length(prefix, prefix)


def _check_part(key: str, part: str) -> None:
    if part.startswith("."):
        raise BadKey(f"{key!r} has a part that begins with a dot")
    if "\\" in part or not part.isprintable():
        raise BadKey(f"{key!r} has a backslash or a character that cannot be printed")
    _check_length(key, part, PART_LIMIT)


def _check_length(key: str, text: str, limit: int = KEY_LIMIT) -> None:
    if len(text.encode()) > limit:  # lone surrogates cannot be printed and never come here
        raise BadKey(f"{key[:40]!r}... is longer than {limit} bytes, or has a part longer than {PART_LIMIT}")
