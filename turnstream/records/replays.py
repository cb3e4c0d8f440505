"""What operators asked to have computed once more."""

from collections.abc import Iterator
from datetime import datetime
from enum import StrEnum

from pydantic import AwareDatetime, Field

from schemas.base import Value
from schemas.jobs import JobState, OperationName, Params, RunName
from turnstream.object_store.base import ObjectNotFound, exists
from turnstream.records.objects import Objects

_ROOT = "replays/"


class Source(StrEnum):
    """Where a replay finds its jobs."""

    RECORD = "record"
    TOPIC = "topic"


class ReplayRequest(Value):
    """What a replay was asked for: fixed when it is first started."""

    since: AwareDatetime
    until: AwareDatetime
    operation: OperationName | None = None
    state: JobState | None = Field(default=None, description="of a job's first run")
    params: Params = Field(default_factory=dict, description="beside those of the job; an empty text takes one back")
    source: Source = Source.RECORD
    asked: dict[str, str] = Field(default_factory=dict, description="the bounds as they were typed")
    by: str = ""
    at: AwareDatetime


class ReplayGroup(Value):
    """What a group of workers apart from the live one computes."""

    run: RunName
    since: AwareDatetime


def _key(name: str, what: str) -> str:
    return f"{_ROOT}{name}/{what}.json"


class Replays(Objects):
    def start_replay(self, name: str, request: ReplayRequest) -> ReplayRequest:
        """Take a name for a replay: returns what it stands for, which is another request where it was taken before."""
        if self._put_once(_key(name, "request"), request):
            return request
        return self._get(_key(name, "request"), ReplayRequest)

    def replay(self, name: str) -> ReplayRequest | None:
        try:
            return self._get(_key(name, "request"), ReplayRequest)
        except ObjectNotFound:
            return None

    def replays(self) -> Iterator[tuple[str, ReplayRequest]]:
        """All there are, by name."""
        for info in self.store.list(_ROOT):
            name, _, what = info.key.removeprefix(_ROOT).partition("/")
            if what == "request.json" and (request := self.replay(name)) is not None:
                yield name, request

    def cancel_replay(self, name: str, at: datetime) -> None:
        """For good: who publishes it stops soon, and it is not taken up again."""
        self.store.put(_key(name, "cancelled"), f'{{"at":"{at.isoformat()}"}}'.encode())

    def replay_cancelled(self, name: str) -> bool:
        return exists(self.store, _key(name, "cancelled"))

    def agree_on_group(self, group: str, wanted: ReplayGroup) -> ReplayGroup:
        """What the workers of this group compute, as the first of them said."""
        key = f"replay-groups/{group}.json"
        return wanted if self._put_once(key, wanted) else self._get(key, ReplayGroup)
