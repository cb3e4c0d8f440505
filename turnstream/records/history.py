"""The jobs of a stretch of time, and how their runs stand, from the names of their objects alone."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from schemas.jobs import LIVE_RUN, JobState
from turnstream.object_store.base import ObjectInfo
from turnstream.records.endings import ENDING_NAMES, Endings

_LAST = (1 << 48) - 1


@dataclass(frozen=True, slots=True)
class Glimpse:
    """What the names of a job's objects tell of it and of one of its further runs."""

    job_id: str
    live: frozenset[str]
    """Names of the objects of its first run, such as `ended`."""
    run: frozenset[str]
    """The same of the other one."""


class History(Endings):
    def glimpses(
        self, since: datetime, until: datetime, run: str, *, stored: datetime | None = None
    ) -> Iterator[Glimpse]:
        """The jobs whose ids were made in that time, in its order; with `stored` only those that were stored since then, by the
        clock of the store. One listing serves all.
        """
        for job_id, infos in groupby(self._between("jobs/", since, until), key=lambda info: info.key.split("/")[1]):
            names = {info.key.removeprefix(f"jobs/{job_id}/").removesuffix(".json"): info.modified for info in infos}
            if "job" in names and (stored is None or names["job"] >= stored):
                yield Glimpse(job_id, live=_of_run(names, LIVE_RUN), run=_of_run(names, run))

    def marked_between(self, since: datetime, until: datetime, run: str) -> Iterator[str]:
        """The jobs of that time of which this run has a mark."""
        for info in self._between("pending/", since, until):
            _, job_id, marked = info.key.split("/", 2)
            if marked == run:
                yield job_id

    def state_of(self, job_id: str, run: str, names: frozenset[str]) -> JobState | None:
        """How a run ended, from the names of its objects where these say it; None where it has not ended."""
        if "ended" not in names:
            return None
        said = [state for state, name in ENDING_NAMES.items() if name in names]
        if len(said) == 1:
            return said[0]
        outcome = self.outcome(job_id, run)  # somebody is at it, or died with it
        return outcome[0] if outcome else None

    def _between(self, root: str, since: datetime, until: datetime) -> Iterator[ObjectInfo]:
        """What lies below the root under an id that was made between (the end not included)."""
        end = _first_id(until)
        for info in self.store.list(root, start_after=root + _first_id(since)):
            if info.key.removeprefix(root)[: len(end)] >= end:
                return
            yield info


def _of_run(names: Iterable[str], run: str) -> frozenset[str]:
    prefix = f"runs/{run}/"
    return frozenset(name.removeprefix(prefix) for name in names if name.startswith(prefix))


def _first_id(at: datetime) -> str:
    """What ids begin with that are made at that time: 48 bits of milliseconds (RFC 9562, section 5.7)."""
    digits = f"{min(max(0, int(at.timestamp() * 1000)), _LAST):012x}"
    return f"{digits[:8]}-{digits[8:]}"
