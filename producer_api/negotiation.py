"""Which format a caller gets: https://www.rfc-editor.org/rfc/rfc9110#name-accept"""

from schemas.errors import NotAcceptable
from schemas.formats import FORMATS


def choose(name: str | None, accept: str) -> str:
    """A name of FORMATS, from `?format=` or else from Accept. Raises NotAcceptable."""
    if name is not None:
        if name not in FORMATS:
            raise NotAcceptable(f"There is no format {name[:100]!r}; there are {', '.join(FORMATS)}")
        return name
    ranges = dict(_range(part) for part in accept.split(",") if part.strip()) or {"*/*": 1.0}
    best = max(FORMATS, key=lambda known: _quality(FORMATS[known][0], ranges))  # the first of equals
    if _quality(FORMATS[best][0], ranges) <= 0:
        raise NotAcceptable(f"There are {', '.join(media_type for media_type, _ in FORMATS.values())}")
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
