"""Jobs that kill the engine, in a worker with a real engine process: their companions finish, and each of them fails alone."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from processor.at_least_once import AtLeastOnce
from processor.engine_process import EngineProcess
from processor.worker import Worker
from schemas.errors import EngineCrashed, EngineHung, EngineOutOfMemory
from schemas.jobs import JobState
from schemas.topics import Topic
from tests.support.lone_worker import LAYOUT, LoneWorker
from turnstream.operations import installed

LIMIT = 60
"""Seconds any single wait may take on a busy machine."""
ATTEMPTS = 2


class WholeWorker(LoneWorker):
    """With a real engine process, and the scripted engine in it."""

    def start_over(self) -> None:
        self.process = EngineProcess(self.settings)
        outbox = AtLeastOnce(self.bus)
        self.worker = Worker(self.settings, self.records, self.bus, LAYOUT, installed(), self.process, self, outbox)

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(LIMIT):
            while not condition():  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.01)

    def openings(self) -> Counter[str]:
        """How often each run was opened, by job id, of those that came to an end."""
        lines = (self.settings.scripted_log or Path()).read_text().splitlines()
        return Counter(line.split()[0] for line in lines)


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncIterator[WholeWorker]:
    made = WholeWorker(
        tmp_path,
        engine="scripted",
        scripted_log=tmp_path / "done",
        engine_step_limit=5,
        max_attempts=ATTEMPTS,
        diarization_max_batch_size=8,
    )
    await made.start()
    yield made
    await made.worker.close()
    assert not made.worker.broken.is_set()


POISON = {
    "segfault.wav": EngineCrashed,
    "crash.wav": EngineCrashed,
    "hang.wav": EngineHung,
    "gil.wav": EngineHung,
}


@pytest.mark.parametrize(("poison", "error"), POISON.items())
async def test_poison_fails_alone_and_its_companions_finish(
    stack: WholeWorker, poison: str, error: type[EngineCrashed | EngineHung]
):
    good = [stack.submit(filename="sleep-0.3.wav") for _ in range(3)]
    bad = stack.submit(filename=poison)
    good += [stack.submit(filename="sleep-0.3.wav") for _ in range(3)]
    await stack.until(lambda: len(stack.acked) == 7)
    assert {stack.state(id) for id in good} == {JobState.SUCCEEDED}
    ending = stack.records.ending(*bad)
    assert ending is not None
    assert ending.error is not None
    assert ending.error.code == error.code
    assert stack.records.attempts(*bad).count == ATTEMPTS
    assert max(stack.records.attempts(*id).count for id in good) <= 2  # once with it, once alone
    assert stack.openings() == Counter({id: 1 for id, _ in good})
    [letter] = stack.bus.records(Topic.JOBS_DLQ)
    assert dict(letter.headers)["error"] == error.code.encode()
    assert Counter(event.subject for event in stack.told()) == Counter([*(id for id, _ in good), bad[0]])


async def test_several_kinds_of_poison_at_once(stack: WholeWorker):
    bad = {stack.submit(filename=poison): error.code for poison, error in POISON.items()}
    good = [stack.submit() for _ in range(4)]
    later = [stack.submit(filename="sleep-0.1.wav") for _ in range(4)]
    await stack.until(lambda: len(stack.acked) == 12)
    assert {stack.state(id) for id in (*good, *later)} == {JobState.SUCCEEDED}
    told = {id: ending.error.code for id in bad if (ending := stack.records.ending(*id)) and ending.error}
    assert told == bad


async def test_memory_that_is_used_up_fails_one_job_and_keeps_the_engine(stack: WholeWorker):
    warm = stack.submit()
    await stack.until(lambda: stack.acked == [0])
    pid = stack.process.pid
    good, bad = stack.submit(filename="sleep-0.3.wav"), stack.submit(filename="allocate.wav")
    await stack.until(lambda: len(stack.acked) == 3)
    assert [stack.state(id) for id in (warm, good, bad)] == [JobState.SUCCEEDED, JobState.SUCCEEDED, JobState.FAILED]
    ending = stack.records.ending(*bad)
    assert ending is not None
    assert ending.error == EngineOutOfMemory().info
    assert stack.process.pid == pid
