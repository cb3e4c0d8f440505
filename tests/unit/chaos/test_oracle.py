"""The oracle finds every breach there is: a sound record is spoilt in one way at a time."""

import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from schemas.topics import Topic
from tests.chaos.evidence import Evidence, Reached
from tests.chaos.load import Erased, Promise
from tests.chaos.oracle import judge
from tests.chaos.watching import Intruder, Told

AT = 1_800_000_000.0
ENDED = "2027-01-15T08:00:05+00:00"  # five seconds later
OBJECT = {"succeeded": "result", "failed": "error", "cancelled": "cancelled"}
Spoil = Callable[[Evidence], object]


class Sound:
    """A record in which all is well, made job by job."""

    def __init__(self) -> None:
        self.evidence = Evidence([], [], {}, [])

    def job(self, id: str, filename: str, state: str = "succeeded", code: str = "") -> Promise:
        promise = Promise(id, "live", filename, "diarize", AT)
        self.evidence.promises.append(promise)
        ours = {
            f"jobs/{id}/job.json": {"id": id, "audio": {"filename": filename}},
            f"jobs/{id}/runs/live/ended.json": {"state": state, "at": ENDED}
            | ({"error": {"code": code}} if code else {}),
        }
        self.evidence.bodies = {
            **self.evidence.bodies,
            **{key: json.dumps(body).encode() for key, body in ours.items()},
        }
        others = (f"jobs/{id}/audio", f"index/anonymous/8200000000000-{id}")
        run = (f"jobs/{id}/runs/live/{name}.json" for name in ("attempts", OBJECT[state]))
        self.evidence.keys += [*ours, *others, *run]
        type_ = f"turnstream.diarization.{'completed' if state == 'succeeded' else 'failed'}.v1"
        self.evidence.events.append(Told(Topic.DIARIZATION_RESULTS, id, f"{id}/live", type_, code, AT))
        if state == "failed":
            self.dead(id, code)
        return promise

    def dead(self, key: str, code: str) -> None:
        self.evidence.events.append(Told(Topic.JOBS_DLQ, key, f"{key}/live", "turnstream.job.requested.v1", code, AT))


def sound() -> Evidence:
    made = Sound()
    made.job("good", "sleep-0.1-000001.wav")
    made.job("poison", "crash-000002.wav", "failed", "engine_crashed")
    made.job("stopped", "sleep-1-000003.wav", "cancelled", "job_cancelled").cancelled = True
    made.evidence.promises.append(Promise("erased", "live", "sleep-1-000004.wav", "diarize", AT, erased=Erased.DONE))
    made.evidence.intruders = [Intruder("intruder-1", "null", AT)]
    made.dead("intruder-1", "event_invalid")
    made.evidence.reached = [
        Reached(Topic.JOBS, 0, 4, 4),
        Reached(Topic.JOBS, 1, 0, None),
        Reached(Topic.JOBS, 2, 3, 4),
    ]
    made.evidence.exactly_once = True
    return made.evidence


def forget(key: str) -> Spoil:
    def spoil(evidence: Evidence) -> None:
        evidence.keys.remove(key)
        evidence.bodies = {name: body for name, body in evidence.bodies.items() if name != key}

    return spoil


def claim(**fields: object) -> Spoil:
    """Change the claim of the good job."""

    def spoil(evidence: Evidence) -> None:
        key = "jobs/good/runs/live/ended.json"
        evidence.bodies = {**evidence.bodies, key: json.dumps({"state": "succeeded", "at": ENDED} | fields).encode()}

    return spoil


def drop(topic: str, key: str) -> Spoil:
    def spoil(evidence: Evidence) -> None:
        evidence.events = [event for event in evidence.events if (event.topic, event.key) != (topic, key)]

    return spoil


def rename(kind: str) -> Spoil:
    """The good job was another one by its name."""

    def spoil(evidence: Evidence) -> None:
        body = json.dumps({"id": "good", "audio": {"filename": f"{kind}-000001.wav"}}).encode()
        evidence.bodies = {**evidence.bodies, "jobs/good/job.json": body}

    return spoil


def event(**fields: object) -> Spoil:
    """One more event, like that of the good job but for these fields."""
    return lambda evidence: evidence.events.append(replace(evidence.events[0], **fields))


BREACHES: dict[str, tuple[Spoil, str]] = {
    "a job is lost": (forget("jobs/good/job.json"), "there is no such job"),
    "an end is lost": (forget("jobs/good/runs/live/ended.json"), "has no end"),
    "a result without a claim": (forget("jobs/good/runs/live/ended.json"), "and no claim"),
    "a claim without a result": (forget("jobs/good/runs/live/result.json"), "has nothing"),
    "two ends": (lambda e: e.keys.append("jobs/good/runs/live/error.json"), "error.json, result.json"),
    "another end than the claim": (claim(state="failed", error={"code": "engine_failed"}), "failed, and has result"),
    "a stage that stayed": (lambda e: e.keys.append("jobs/good/runs/live/stages/diarize.json"), "stayed"),
    "poison that succeeds": (rename("error"), "was to end by error"),
    "a good job that fails": (claim(state="failed", error={"code": "engine_hung"}), "failed by engine_hung"),
    "a cancel of nobody": (claim(state="cancelled", error={"code": "job_cancelled"}), "nobody asked"),
    "nobody is told": (drop(Topic.DIARIZATION_RESULTS, "good"), "nobody was told"),
    "told twice": (event(), "told 2 times"),
    "told otherwise": (event(type="turnstream.diarization.failed.v1"), "told as turnstream.diarization.failed.v1"),
    "another key": (event(key="poison"), "another key"),
    "told of nothing": (event(key="nobody", id="nobody/live"), "no such run"),
    "no dead letter": (drop(Topic.JOBS_DLQ, "poison"), "not among the dead letters"),
    "a record is swallowed": (drop(Topic.JOBS_DLQ, "intruder-1"), "intruder-1 (null) is not"),
    "a mark": (lambda e: e.keys.append("pending/good/live"), "a mark is left"),
    "not committed": (lambda e: e.reached.append(Reached(Topic.JOBS_RETRY, 0, 3, 2)), "committed 2, and 3"),
    "never committed": (lambda e: e.reached.append(Reached(Topic.JOBS, 5, 1, None)), "committed None"),
    "an open transaction": (lambda e: e.transactions.append("gpu-jobs/1"), "was not ended"),
    "an erased job's result": (lambda e: e.keys.append("jobs/erased/runs/live/result.json"), "erased, and something"),
    "an erased job's index": (lambda e: e.keys.append("index/a/8200000000000-erased"), "erased, and something"),
    "a recording of nobody": (lambda e: e.keys.append("jobs/nobody/audio"), "no job.json"),
    "no index": (forget("index/anonymous/8200000000000-good"), "is in no index"),
    "a process": (lambda e: e.leftovers.append("4242: python"), "left over: 4242"),
}


def test_a_sound_record_has_no_breach():
    assert judge(sound()) == []


@pytest.mark.parametrize("name", BREACHES)
def test_a_breach_is_found(name: str):
    spoil, said = BREACHES[name]
    evidence = sound()
    spoil(evidence)
    assert any(said in str(breach) for breach in judge(evidence)), judge(evidence)


def test_a_submission_that_nobody_was_promised_is_whole_or_not_there():
    evidence = sound()
    evidence.promises = [promise for promise in evidence.promises if promise.job != "good"]
    assert judge(evidence) == []
    forget("jobs/good/runs/live/ended.json")(evidence)
    forget("jobs/good/runs/live/result.json")(evidence)
    assert "neither ended nor gone" in " ".join(map(str, judge(evidence)))


def test_an_erasure_without_an_answer_may_have_happened_or_not():
    for spoil in (lambda evidence: None, erase_all):
        evidence = sound()
        evidence.promises[0].erased = Erased.ASKED
        spoil(evidence)
        assert judge(evidence) == []


def erase_all(evidence: Evidence) -> None:
    evidence.keys = [key for key in evidence.keys if "good" not in key]
    evidence.bodies = {key: body for key, body in evidence.bodies.items() if "good" not in key}


def test_what_the_embedded_broker_forgot_is_excused_only_where_it_died_since():
    evidence = sound()
    drop(Topic.DIARIZATION_RESULTS, "good")(evidence)
    evidence.forgotten = [AT + 4]  # it ended five seconds after AT
    assert judge(evidence)
    evidence.forgotten = [AT + 6]
    assert judge(evidence) == []


def test_a_good_job_may_fail_only_where_enough_struck_it():
    evidence = sound()
    claim(state="failed", error={"code": "engine_crashed"})(evidence)
    evidence.keys.remove("jobs/good/runs/live/result.json")
    evidence.keys.append("jobs/good/runs/live/error.json")
    evidence.events[0] = replace(evidence.events[0], type="turnstream.diarization.failed.v1")
    evidence.events.append(Told(Topic.JOBS_DLQ, "good", "good/live", "", "engine_crashed", AT))
    evidence.ruined = [AT + 1, AT + 2]
    assert [str(breach) for breach in judge(evidence)] == ["good/live: failed by engine_crashed, and is good"]
    evidence.ruined.append(AT + 3)
    assert judge(evidence) == []


def test_the_real_model_finds_the_same_each_time():
    evidence = sound()
    evidence.bodies = {
        **evidence.bodies,
        **{
            f"jobs/{job}/runs/live/result.json": json.dumps({"segments": [turn]}).encode() for job, turn in ("ab", "cb")
        },
    }
    assert judge(evidence) == []
    evidence.bodies = {**evidence.bodies, "jobs/d/runs/live/result.json": b'{"segments": []}'}
    assert [str(breach) for breach in judge(evidence)] == ["d/live: found something else than the others"]


def test_events_may_come_again_where_nobody_promised_otherwise():
    evidence = sound()
    event()(evidence)
    evidence.exactly_once = False
    assert judge(evidence) == []
