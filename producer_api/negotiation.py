"""Which format a caller gets: https://www.rfc-editor.org/rfc/rfc9110#name-accept"""

from collections.abc import Mapping

from schemas.errors import NotAcceptable
from schemas.formats import Format


def choose(formats: Mapping[str, Format], name: str | None, accept: str) -> Format:
    """One of the formats, by `?format=` or else by Accept. Raises NotAcceptable."""
    if name is not None:
        if name not in formats:
            raise NotAcceptable(f"There is no format {name[:100]!r} of this result; there are {', '.join(formats)}")
        return formats[name]
    ranges = dict(_range(part) for part in accept.split(",") if part.strip()) or {"*/*": 1.0}
    best = max(formats.values(), key=lambda known: _quality(known.media_type, ranges))  # the first of equals
    if _quality(best.media_type, ranges) <= 0:
        raise NotAcceptable(f"There are {', '.join(known.media_type for known in formats.values())}")
    return best


def _range(part: str) -> tuple[str, float]:
    media, *parameters = (piece.strip().lower() for piece in part.split(";"))
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key == "q":
            try:
                return media, float(value)
            except ValueError:
                return media, 0.0
    return media, 1.0


def _quality(media_type: str, ranges: dict[str, float]) -> float:
    """That of the most specific range which covers the type."""
    kind = media_type.partition("/")[0]
    for media in (media_type, f"{kind}/*", "*/*"):
        if media in ranges:
            return ranges[media]
    return 0.0
