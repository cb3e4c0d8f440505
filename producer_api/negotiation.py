"""Which format a caller gets: https://www.rfc-editor.org/rfc/rfc9110#name-accept"""

import re
from collections.abc import Mapping

from schemas.errors import NotAcceptable
from schemas.formats import OTHER_MEDIA_TYPES, Format, named
from schemas.turns import Turns

_QVALUE = re.compile(r"(?:0(?:\.\d*)?|1(?:\.0*)?)")


def choose(formats: Mapping[str, Format], name: str | None, accept: str, turns: Turns | None = None) -> Format:
    """One of the formats, by `?format=` or else by Accept, of the turns in `?turns=`. Raises NotAcceptable, InvalidRequest."""
    return (_by_accept(formats, accept) if name is None else _by_name(formats, name)).showing(turns)


def _by_name(formats: Mapping[str, Format], name: str) -> Format:
    found = named(formats, name)
    if found is None:
        raise NotAcceptable(
            f"There is no format {name[:100]!r} of this result; there are {', '.join(formats)}", formats=[*formats]
        )
    return found


def _by_accept(formats: Mapping[str, Format], accept: str) -> Format:
    ranges = dict(_range(part) for part in accept.split(",") if part.strip(" ;\t")) or {"*/*": 1.0}
    best = max(formats.values(), key=lambda known: _quality(known.media_type, ranges))  # the first of equals
    if _quality(best.media_type, ranges) <= 0:
        media_types = [known.media_type for known in formats.values()]
        raise NotAcceptable(f"There are {', '.join(media_types)}", formats=[*formats], media_types=media_types)
    return best


def _range(part: str) -> tuple[str, float]:
    media, *parameters = (piece.strip().lower() for piece in part.split(";"))
    media = OTHER_MEDIA_TYPES.get(media, media)
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key == "q":
            return media, float(value) if _QVALUE.fullmatch(value) else 0.0
    return media, 1.0


def _quality(media_type: str, ranges: dict[str, float]) -> float:
    """That of the most specific range which covers the type."""
    kind = media_type.partition("/")[0]
    for media in (media_type, f"{kind}/*", "*/*"):
        if media in ranges:
            return ranges[media]
    return 0.0
