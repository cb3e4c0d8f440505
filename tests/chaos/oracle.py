"""What must hold after any faults. Every sentence of the promise is one check over the evidence; none looks at a program.

An acknowledged (job, run) has one end, told as it was; it ends as its file says; nothing of it waits any more. Of what was not
acknowledged either the same is true, or nothing is left. What was erased has left nothing.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any

from schemas import failures
from schemas.errors import ErrorInfo
from schemas.topics import Topic
from tests.chaos.evidence import Evidence
from tests.chaos.load import Erased, Kind, Promise, kind_of

RESULT_OF = {"succeeded": "result.json", "failed": "error.json", "cancelled": "cancelled.json"}
LOST_ENGINE = {"engine_crashed", "engine_hung", "attempts_exhausted"}
"""Codes of a job that took the engine with it, or was there too often when somebody else did."""
CODES = {
    Kind.GOOD: set[str](),
    Kind.ERROR: {"engine_failed"},
    Kind.MEMORY: {"engine_out_of_memory"},
    Kind.CRASH: LOST_ENGINE,
    Kind.HANG: LOST_ENGINE,
}
BESIDE = ("ended.json", "attempts.json", "request.json", "witnesses/")
"""Objects of a run besides its end, or how their names begin."""


@dataclass(frozen=True, slots=True)
class Breach:
    what: str
    job: str = ""
    run: str = ""

    def __str__(self) -> str:
        return f"{self.job}/{self.run}: {self.what}" if self.job else self.what


@dataclass(slots=True)
class End:
    """What the store has of a run."""

    job: str
    run: str
    objects: set[str] = field(default_factory=set)
    claim: dict[str, Any] | None = None

    @property
    def id(self) -> str:
        return f"{self.job}/{self.run}"

    @property
    def state(self) -> str:
        return self.claim["state"] if self.claim else ""

    @property
    def code(self) -> str:
        return (self.claim or {}).get("error", {}).get("code", "")


class Case:
    """The evidence, in the order in which the checks want it."""

    def __init__(self, evidence: Evidence) -> None:
        self.of = evidence

    @cached_property
    def runs(self) -> dict[str, End]:
        """By `<job>/<run>`."""
        found: dict[str, End] = {}
        for key in self.of.keys:
            parts = key.split("/")
            if parts[0] == "jobs" and parts[2] == "runs":
                end = found.setdefault(f"{parts[1]}/{parts[3]}", End(parts[1], parts[3]))
                end.objects.add("/".join(parts[4:]))
                if parts[4:] == ["ended.json"]:
                    end.claim = json.loads(self.of.bodies[key])
        return found

    @cached_property
    def jobs(self) -> dict[str, dict[str, Any]]:
        return {
            key.split("/")[1]: json.loads(body) for key, body in self.of.bodies.items() if key.endswith("/job.json")
        }

    @cached_property
    def marks(self) -> set[str]:
        return {key.removeprefix("pending/") for key in self.of.keys if key.startswith("pending/")}

    @cached_property
    def promised(self) -> dict[str, Promise]:
        return {each.id: each for each in self.of.promises}

    @cached_property
    def erasure(self) -> dict[str, Erased]:
        return {each.job: each.erased for each in self.of.promises if each.erased is not Erased.NO}

    @cached_property
    def told(self) -> dict[str, list[Any]]:
        """Events on result topics, by their id."""
        found: dict[str, list[Any]] = defaultdict(list)
        for event in self.of.events:
            if event.topic != Topic.JOBS_DLQ:
                found[event.id].append(event)
        return found

    @cached_property
    def dead(self) -> Counter[str]:
        """Dead letters by the record's key, which is a job's id."""
        return Counter(event.key for event in self.of.events if event.topic == Topic.JOBS_DLQ)

    def forgotten_since(self, at: float) -> bool:
        """Whether the broker may have lost what was told then."""
        return any(lost >= at for lost in self.of.forgotten)

    def claim(self, id: str) -> dict[str, Any] | None:
        return self.runs[id].claim if id in self.runs else None

    def filename(self, end: End) -> str:
        return self.jobs.get(end.job, {}).get("audio", {}).get("filename", "")

    def may_be_gone(self, job: str) -> bool:
        return self.erasure.get(job, Erased.NO) is not Erased.NO and job not in self.jobs


def ended_at(end: End) -> float:
    return datetime.fromisoformat(end.claim["at"]).timestamp() if end.claim else 0.0


def nothing_is_lost(case: Case) -> Iterator[Breach]:
    for promise in case.of.promises:
        end = case.runs.get(promise.id)
        if case.may_be_gone(promise.job):
            continue
        if promise.job not in case.jobs:
            yield Breach("acknowledged, and there is no such job", promise.job, promise.run)
        elif end is None or end.claim is None:
            yield Breach("acknowledged, and has no end", promise.job, promise.run)


def one_end(case: Case) -> Iterator[Breach]:
    """The claim, and the one object that agrees with it."""
    for end in case.runs.values():
        ends = end.objects & set(RESULT_OF.values())
        if end.claim is None and ends:
            yield Breach(f"has {', '.join(sorted(ends))} and no claim", end.job, end.run)
        elif end.claim is not None and ends != {RESULT_OF[end.state]}:
            yield Breach(f"{end.state}, and has {', '.join(sorted(ends)) or 'nothing'}", end.job, end.run)
        if end.claim is not None and (others := {name for name in end.objects - ends if not name.startswith(BESIDE)}):
            yield Breach(f"has ended, and {', '.join(sorted(others))} stayed", end.job, end.run)


def as_its_name_says(case: Case) -> Iterator[Breach]:
    if not case.of.scripted:
        return
    for end in case.runs.values():
        if end.claim is None:
            continue
        promise = case.promised.get(end.id)
        if end.state == "cancelled":
            asked = promise is None or promise.cancelled or promise.erased is not Erased.NO
            if not asked:
                yield Breach("cancelled, and nobody asked for that", end.job, end.run)
            continue
        kind = kind_of(case.filename(end))
        if end.state == "succeeded" and kind is not Kind.GOOD:
            yield Breach(f"succeeded, and was to end by {kind}", end.job, end.run)
        excused = end.code in LOST_ENGINE and _unlucky(case, end)
        if end.state == "failed" and end.code not in CODES[kind] and not excused:
            yield Breach(f"failed by {end.code}, and is {kind}", end.job, end.run)


def _unlucky(case: Case, end: End) -> bool:
    """Whether faults alone may have used up its tries."""
    since = case.promised[end.id].at if end.id in case.promised else 0.0
    until = ended_at(end)
    return sum(since - 30 <= at <= until for at in case.of.ruined) >= case.of.max_attempts


def one_answer(case: Case) -> Iterator[Breach]:
    """The real model gets the same recording each time, and finds the same in it, however often it was begun anew."""
    bodies = {key: body for key, body in case.of.bodies.items() if key.endswith("/result.json")}
    answers = {key: json.dumps(json.loads(body)["segments"]) for key, body in bodies.items()}
    usual = Counter(answers.values()).most_common(1)
    for key, answer in answers.items():
        if answer != usual[0][0]:
            yield Breach("found something else than the others", key.split("/")[1], key.split("/")[3])


def told_once(case: Case) -> Iterator[Breach]:
    """At least one event of each end, under the one id; with transactions, no second one. Each tells the end as it is."""
    for end in case.runs.values():
        events = case.told.get(end.id, [])
        if end.claim is not None and not events and not case.forgotten_since(ended_at(end)):
            yield Breach(f"{end.state}, and nobody was told", end.job, end.run)
        if case.of.exactly_once and len(events) > 1:
            yield Breach(f"told {len(events)} times", end.job, end.run)
        for event in events:
            if end.claim is not None and event.type.endswith(".completed.v1") != (end.state == "succeeded"):
                yield Breach(f"{end.state}, and told as {event.type}", end.job, end.run)
    for id, events in case.told.items():
        job, _, run = id.partition("/")
        if any(event.key != job for event in events):
            yield Breach(f"an event has the id {id!r} and another key", job, run)
        elif id not in case.runs and case.erasure.get(job, Erased.NO) is Erased.NO:
            yield Breach("told, and there is no such run", job, run)


def set_aside(case: Case) -> Iterator[Breach]:
    """What fails by the fault of model or infrastructure is among the dead letters; so is what nobody can read."""
    for end in case.runs.values():
        wanted = end.state == "failed" and failures.of(ErrorInfo(code=end.code, detail="-")).operators
        if wanted and not case.dead[end.job] and not case.forgotten_since(ended_at(end)):
            yield Breach(f"failed by {end.code}, and is not among the dead letters", end.job, end.run)
    for intruder in case.of.intruders:
        if not case.dead[intruder.key] and not case.forgotten_since(intruder.at):
            yield Breach(f"{intruder.key} ({intruder.what}) is not among the dead letters")


def nothing_waits(case: Case) -> Iterator[Breach]:
    for mark in sorted(case.marks):
        job, _, run = mark.partition("/")
        yield Breach("a mark is left", job, run)
    for each in case.of.reached:
        if not each.done:
            yield Breach(f"{each.topic}/{each.partition}: committed {each.committed}, and {each.end} is the end")
    for partition in case.of.transactions:
        yield Breach(f"{partition}: a transaction was not ended")


def nothing_is_left(case: Case) -> Iterator[Breach]:
    """Of what was erased, of submissions that nobody was promised, of processes that died."""
    indexed = {key.rpartition("/")[2].split("-", 1)[1] for key in case.of.keys if key.startswith("index/")}
    stored = {key.split("/")[1] for key in case.of.keys if key.startswith("jobs/")}
    for job in sorted(stored | indexed):
        if case.erasure.get(job) is Erased.DONE:
            yield Breach("erased, and something of it is there", job)
        elif job not in case.jobs:
            yield Breach("something of it is there, and no job.json", job)
        elif job not in indexed:
            yield Breach("is in no index", job)
        elif f"{job}/live" not in case.promised and case.claim(f"{job}/live") is None:
            yield Breach("nobody was promised it, and it has neither ended nor gone", job, "live")
    for each in case.of.leftovers:
        yield Breach(f"left over: {each}")


CHECKS: tuple[Callable[[Case], Iterator[Breach]], ...] = (
    nothing_is_lost,
    one_end,
    as_its_name_says,
    one_answer,
    told_once,
    set_aside,
    nothing_waits,
    nothing_is_left,
)


def judge(evidence: Evidence) -> list[Breach]:
    """Every breach of the promise; none where all is well."""
    case = Case(evidence)
    return [breach for check in CHECKS for breach in check(case)]
