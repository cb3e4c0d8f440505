"""Prefer: wait=N, by which a caller has a call wait for the end of a run. https://www.rfc-editor.org/rfc/rfc7240"""

import logging
import re
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Header
from starlette.requests import Request

from producer_api.results import Results
from producer_api.service import TheService
from schemas.errors import Busy
from turnstream.records import Ending

log = logging.getLogger("turnstream.api")

APPLIED = "Preference-Applied"
_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_VALUE = rf'(?:"(?:[^"\\]|\\.)*"|{_WORD})'
_PREFERENCE = re.compile(
    rf"(?:^|,)[ \t]*(?P<name>{_WORD})[ \t]*(?:=[ \t]*(?P<value>{_VALUE})?)?[ \t]*(?:;[^,\"]*(?:\"(?:[^\"\\]|\\.)*\")?)*"
)


@dataclass(frozen=True, slots=True)
class Preferences:
    """What a caller would like, as far as we do it."""

    wait: int | None = None
    """Seconds to wait for the end of a run."""
    respond_async: bool = False
    """Rather be told where to ask than wait longer."""

    def at_most(self, limit: float) -> "Preferences":
        """The same with no longer wait than the service has."""
        return self if self.wait is None else Preferences(min(self.wait, int(limit)), self.respond_async)


def read_preferences(lines: list[str]) -> Preferences:
    """What we do not know, or cannot read, is no preference; of two the first counts."""
    found: dict[str, str] = {}
    for match in _PREFERENCE.finditer(", ".join(lines)):
        found.setdefault(match["name"].lower(), (match["value"] or "").strip('"'))
    wait = found.get("wait", "")
    seconds = int(wait) if wait.isascii() and wait.isdigit() and len(wait) < 10 else None
    return Preferences(seconds, "respond-async" in found)


async def _preferences(
    request: Request,
    service: TheService,
    shown: Annotated[
        str | None,
        Header(
            alias="Prefer",
            description="`wait=N`: answer when the run has ended, N seconds from now at the latest; the service has a limit of "
            "its own, and says in `Preference-Applied` how long it would have waited",
        ),
    ] = None,
) -> Preferences:
    del shown  # of a header in several lines it has one; it is here for the API's description
    return read_preferences(request.headers.getlist("Prefer")).at_most(service.settings.wait_limit)


Prefer = Annotated[Preferences, Depends(_preferences)]


async def wait_for_end(
    results: Results, job_id: str, run: str, prefer: Preferences
) -> tuple[Ending | None, dict[str, str]]:
    """How a run ended, if it does as long as the caller would like to wait; and the header that says whether we waited.

    Where too many wait already the wish is not followed, as it may be.
    """
    if prefer.wait is None:
        return None, {}
    try:
        with results.waiter(job_id, run, published=True) as waiter:
            return await results.wait(waiter, prefer.wait), applied(prefer.wait)
    except Busy as error:
        log.info("%s", error.detail)
        return None, {}


def applied(wait: int | None, respond_async: bool = False) -> dict[str, str]:
    """The header that says which preferences were followed."""
    said = [*(["respond-async"] if respond_async else []), *([f"wait={wait}"] if wait is not None else [])]
    return {APPLIED: ", ".join(said)} if said else {}
