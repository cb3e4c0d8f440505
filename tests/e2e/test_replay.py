"""`turnstream replay` as it is typed, on a stack as it runs; and what becomes of all when Kafka's data is deleted.

It runs the commands of docs/replay.md that want Apache Kafka.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from schemas.jobs import JobState, Lane
from schemas.topics import Topic
from tests.chaos.replay import STORMY, breaches, killed
from tests.support import recordings
from tests.support.real import REAL_KAFKA, REASON
from tests.support.replaying import Ground, ground, make_past
from tests.support.stack import CLEAN, Stack
from tests.support.waiting import until

pytestmark = [pytest.mark.stack, pytest.mark.timeout(400)]
REAL = [pytest.mark.real, pytest.mark.skipif(REAL_KAFKA not in os.environ, reason=REASON)]
PATIENCE = 150.0
"""Seconds that anything may take on a busy machine."""


def submit(stack: Stack, folder: Path, name: str, count: int = 1) -> list[str]:
    recording = recordings.wav(recordings.tone(1), recordings.SAMPLE_RATE, folder / name)
    with stack.client() as client:
        return [client.submit(recording).id for _ in range(count)]


def until_state(stack: Stack, jobs: list[str], run: str = "live", state: JobState = JobState.SUCCEEDED) -> None:
    with stack.client() as client:
        for job in jobs:
            *_, last = client.wait(job, run=run, timeout=PATIENCE)
            assert last.state is state, last


# On both stacks


@pytest.mark.parametrize("kind", ["embedded", pytest.param("local", marks=REAL)])
def test_a_past_is_computed_once_more_whatever_is_killed(kind: str, tmp_path: Path) -> None:
    with ground(kind, tmp_path / "ground") as field, field.stack() as stack:
        records = field.records()
        past = make_past(records, [f"sleep-0.1-{number}.wav" for number in range(60)])
        struck = killed(field, stack, records, past, kills=4, pace=1.0)
        assert struck == {"replay": 2, "worker": 2}
        assert list(breaches(field, stack, records, past, (STORMY,))) == []
        with stack.client() as client:
            seen = client.job(past[0], run=STORMY)
            assert (seen.lane, seen.state) == (Lane.BATCH, JobState.SUCCEEDED)
            assert {run.run for run in client.runs(past[0])} == {"live", STORMY}
        again = field.run("replay", "--run", STORMY)
        assert (again.returncode, "0 runs asked for, 60 there before" in again.stdout) == (0, True), again.stderr


def test_a_replay_as_it_is_typed(tmp_path: Path) -> None:
    with ground("embedded", tmp_path / "ground") as field, field.stack() as stack:
        records = field.records()
        quick = make_past(records, ["a.wav", "b.wav", "c.wav"], hours_ago=5)
        slow = make_past(records, ["sleep-60.wav"] * 12, hours_ago=1)

        rehearsed = field.run("replay", "--from", "6h", "--to", "4h", "--run", "fast", "--dry-run")
        assert (rehearsed.returncode, "3 runs would be asked for" in rehearsed.stdout) == (0, True), rehearsed.stderr
        done = field.run("replay", "--from", "6h", "--to", "4h", "--run", "fast", "--param", "mode=fast")
        assert (done.returncode, "3 runs asked for" in done.stdout) == (0, True), done.stderr
        until_state(stack, quick, "fast")
        with stack.client() as client:
            assert client.job(quick[0], run="fast").params["mode"] == "fast"
            assert "mode" not in client.job(quick[0]).params
        status = field.status("fast")
        assert (status["succeeded"], status["total"], status["missing"]) == (3, 3, 0)
        shown = field.run("replay", "status", "fast")
        assert (shown.returncode, "100%" in shown.stdout) == (0, True), shown.stdout

        other = field.run("replay", "--from", "6h", "--to", "4h", "--run", "fast")
        assert (other.returncode, "another --param" in other.stderr) == (2, True), other.stderr
        topic = field.run("replay", "--from", "6h", "--run", "topic", "--source", "topic")
        assert (topic.returncode, "Apache Kafka" in topic.stderr) == (2, True), topic.stderr

        assert field.run("replay", "--from", "2h", "--run", "slow").returncode == 0
        until(lambda: field.status("slow")["running"], PATIENCE)
        stopped = field.run("replay", "cancel", "slow")
        assert (stopped.returncode, "12 runs cancelled" in stopped.stdout) == (0, True), stopped.stderr
        until_state(stack, slow, "slow", JobState.CANCELLED)
        status = field.status("slow")
        assert (status["cancelled"], status["stopped"]) == (12, True)
        taken_up = field.run("replay", "--run", "slow")
        assert (taken_up.returncode, "was cancelled" in taken_up.stderr) == (2, True), taken_up.stderr
        listed = field.run("replay", "list")
        assert [line.split()[0] for line in listed.stdout.splitlines()] == ["run", "fast", "slow"], listed.stdout


# On Apache Kafka


def on_kafka(test: Callable[..., None]) -> Callable[..., None]:
    for mark in REAL:
        test = mark(test)
    return test


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Ground, Stack]]:
    with ground("local", tmp_path_factory.mktemp("ground")) as field, field.stack() as stack:
        yield field, stack


@on_kafka
def test_the_topic_is_replayed(local: tuple[Ground, Stack], tmp_path: Path) -> None:
    field, stack = local
    jobs = submit(stack, tmp_path, "a.wav", 6)
    until_state(stack, jobs)
    for _ in range(2):
        done = field.run("replay", "--from", "1h", "--run", "topic", "--source", "topic")
        assert done.returncode == 0, done.stderr
    until_state(stack, jobs, "topic")
    until(lambda: not list(field.records().pending()), PATIENCE)
    assert {job: stack.event_ids()[f"{job}/topic"] for job in jobs} == dict.fromkeys(jobs, 1)
    assert {field.computed()[job, "live"] for job in jobs} == {1}


@on_kafka
def test_a_group_of_its_own_reads_the_topic_again_and_leaves_the_live_one_alone(
    local: tuple[Ground, Stack], tmp_path: Path
) -> None:
    field, stack = local
    records = field.records()
    jobs = submit(stack, tmp_path, "sleep-0.3.wav", 20)
    [failing] = submit(stack, tmp_path, "memory.wav")
    until_state(stack, jobs)
    until_state(stack, [failing], state=JobState.FAILED)
    until(lambda: not list(records.pending()), PATIENCE)
    letters = stack.event_ids(Topic.JOBS_DLQ)
    with apart(field) as first:
        until(lambda: sum(records.ended(job, "v2") for job in jobs) >= 3, PATIENCE)
        os.kill(first.pid, signal.SIGKILL)
    with apart(field):
        until(lambda: all(records.ended(job, "v2") for job in (*jobs, failing)), PATIENCE)
        until(lambda: not list(records.pending()), PATIENCE)
        late = submit(stack, tmp_path, "b.wav")
        until(lambda: all(records.ended(job, "v2") for job in late), PATIENCE)
        until(lambda: not list(records.pending()), PATIENCE)
    told = stack.event_ids()
    assert {job: told[f"{job}/v2"] for job in (*jobs, failing, *late)} == dict.fromkeys((*jobs, failing, *late), 1)
    assert {records.outcome(job, "v2")[0] for job in jobs} == {JobState.SUCCEEDED}  # type: ignore[index]
    assert records.outcome(failing, "v2")[0] is JobState.FAILED  # type: ignore[index]
    assert {field.computed()[job, "live"] for job in jobs} == {1}, "the live group has computed nothing again"
    assert stack.event_ids(Topic.JOBS_DLQ) == letters
    refused = subprocess.run(
        processor("v3"), env=environment(field), capture_output=True, timeout=PATIENCE, check=False
    )
    assert (refused.returncode, b"computes the run v2" in refused.stdout + refused.stderr) == (78, True)


def processor(run: str) -> list[str]:
    return [sys.executable, "-m", "processor", "--group", "again", "--run", run, "--since", "1h"]


def environment(field: Ground) -> dict[str, str]:
    return os.environ | CLEAN | field.env | {"DATA_DIR": str(field.folder / "data"), "SESSION_TIMEOUT": "6"}


@contextmanager
def apart(field: Ground) -> "Iterator[subprocess.Popen[bytes]]":
    with (field.folder / "apart.log").open("ab") as log:
        worker = subprocess.Popen(processor("v2"), env=environment(field), stdout=log, stderr=log)
    try:
        yield worker
    except BaseException:
        print((field.folder / "apart.log").read_text(errors="replace")[-20_000:])
        raise
    finally:
        worker.terminate()
        try:
            worker.wait(PATIENCE)
        finally:
            worker.kill()


@on_kafka
def test_kafka_that_lost_its_data_gets_back_what_is_pending_and_nothing_that_is_done(tmp_path: Path) -> None:
    with ground("local", tmp_path / "ground") as field:
        kafka = field.kafka
        assert kafka is not None
        with field.stack() as stack:
            finished = submit(stack, tmp_path, "a.wav", 5)
            until_state(stack, finished)
            until(lambda: not list(field.records().pending()), PATIENCE)
            pending = submit(stack, tmp_path, "sleep-1.wav", 20)
            kafka.kill()
            kafka.forget()
            kafka.start()  # under a stack that runs: it mends itself
            until_state(stack, pending)
            finished += pending
            until(lambda: not list(field.records().pending()), PATIENCE)
            once = field.computed()
            waiting = submit(stack, tmp_path, "sleep-2.wav", 20)
        assert len(list(field.records().pending())) > 0, "the stack was stopped while jobs waited"
        kafka.kill()
        kafka.forget()
        kafka.start()
        with field.stack() as stack:  # `turnstream up`: the one command
            until_state(stack, waiting)
            until(lambda: not list(field.records().pending()), PATIENCE)
            told = stack.event_ids()
        assert {job: field.computed()[job, "live"] for job in finished} == {job: once[job, "live"] for job in finished}
        assert {once[job, "live"] for job in finished[:5]} == {1}
        assert not any(f"{job}/live" in told for job in finished), "what is done is not told again either"
