"""When a worker counts as stuck, on a clock of the test's own."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor.engines.base import Progressed
from processor.held import Held, Stage, read
from processor.progress import Progress
from processor.receipts import Receipts
from schemas.jobs import JobState
from schemas.jobs import Progress as Fraction
from tests.support.lone_worker import LoneWorker
from tests.support.worker import FreeFlow, job_event, new_job, record_of
from turnstream.operations import installed

LIMIT = 300.0


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Watched:
    """A `Progress` that is looked after for as long as the test says, with a broker that answers."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.progress = Progress(LIMIT, self.clock)
        self.helds: list[Held] = []
        self.waiting = self.lag = self.resting = 0
        self.broker = True

    def hold(self, stage: Stage) -> Held:
        record = record_of(job_event(new_job()), offset=len(self.helds))
        held = read(record, installed())
        held.stage = stage
        held.receipts.append(Receipts(FreeFlow(), 10).take(record.position, lambda: None))
        self.helds.append(held)
        return held

    def pass_time(self, seconds: float) -> None:
        until = self.clock.now + seconds
        while self.clock.now < until:
            self.clock.now += min(self.progress.pause, until - self.clock.now)
            if self.broker:
                self.progress.answered()
            self.progress.look(self.helds, self.waiting, self.lag, self.resting)

    @property
    def stuck(self) -> str | None:
        return self.progress.now().stuck


@pytest.fixture
def watched() -> Watched:
    return Watched()


def test_a_worker_without_work_is_never_stuck(watched: Watched):
    watched.pass_time(100 * LIMIT)
    assert watched.stuck is None
    assert watched.progress.now().settled == 100 * LIMIT


def test_work_on_which_nothing_is_done_for_the_limit(watched: Watched):
    watched.pass_time(1000)
    watched.hold(Stage.WAITING)
    watched.waiting, watched.lag = 1, 6
    watched.pass_time(LIMIT)
    assert watched.stuck is None
    watched.pass_time(10)
    assert watched.stuck == "stuck: 7 records behind, none settled for 310 s"
    watched.progress.settled()
    assert watched.stuck is None
    assert watched.progress.now().settled == 0


def test_a_job_of_ten_hours_of_which_the_engine_tells_is_no_standstill(watched: Watched):
    watched.hold(Stage.OPEN)
    watched.waiting = 5
    for _ in range(360):
        watched.pass_time(100)
        watched.progress.moved()
    assert watched.stuck is None
    assert watched.progress.now().settled == 36_000
    watched.pass_time(LIMIT + 10)
    assert "none settled for" in watched.stuck


@pytest.mark.parametrize("stage", [Stage.OPENING, Stage.DELIVERING])
def test_a_job_that_waits_for_the_store_shows_beside_others_that_get_on(watched: Watched, stage: Stage):
    watched.hold(Stage.OPEN)
    watched.hold(stage)
    for _ in range(4):
        watched.pass_time(100)
        watched.progress.moved()
    assert watched.stuck.startswith("stuck: 2 records behind, one waits for the store or the broker for ")
    watched.helds.pop()
    watched.pass_time(1)
    assert watched.stuck is None


def test_jobs_that_go_their_way_through_the_store_do_not_add_up(watched: Watched):
    for _ in range(20):
        held = watched.hold(Stage.OPENING)
        watched.pass_time(60)
        held.stage = Stage.DELIVERING
        watched.pass_time(60)
        watched.helds.remove(held)
        watched.progress.settled()
        assert watched.stuck is None


def test_a_broker_that_does_not_answer_at_all(watched: Watched):
    watched.broker = False
    watched.pass_time(LIMIT + 1)
    assert watched.stuck == "stuck: the broker has not answered for 301 s"
    watched.broker = True
    watched.pass_time(1)
    assert watched.stuck is None


def test_records_that_never_arrive(watched: Watched):
    watched.lag = 3
    watched.pass_time(LIMIT + 1)
    assert watched.stuck == "stuck: 3 records behind, none settled for 301 s"


def test_what_is_held_and_may_not_be_opened_is_no_work(watched: Watched):
    """As diarization while ENABLE_DIARIZATION is false; what lies behind it in the broker is held back by it."""
    watched.hold(Stage.WAITING)
    watched.lag = 1000
    watched.pass_time(10 * LIMIT)
    assert watched.stuck is None
    assert watched.progress.now().behind == 1001


def test_retries_that_are_not_due_yet_are_no_work(watched: Watched):
    """A tier of them may be longer than what a worker takes of a partition."""
    watched.resting, watched.lag = 16, 1000
    watched.pass_time(10 * LIMIT)
    assert watched.stuck is None
    assert watched.progress.now().behind == 1016


@given(st.lists(st.tuples(st.sampled_from(["settled", "moved", "idle"]), st.floats(0.1, LIMIT - 10)), max_size=30))
def test_whoever_gets_on_within_the_limit_is_never_stuck(steps: list[tuple[str, float]]):
    watched = Watched()
    watched.waiting = 1
    for step, seconds in steps:
        watched.pass_time(seconds)
        assert watched.stuck is None
        if step == "idle":
            watched.waiting = 0
            watched.pass_time(watched.progress.pause)
            watched.waiting = 1
        else:
            getattr(watched.progress, step)()


# In a worker


async def test_a_worker_whose_store_is_away_says_so_and_goes_on_when_it_is_back(tmp_path: Path):
    lone = await LoneWorker(tmp_path, stall_limit=0.2).start()
    assert lone.worker.trouble is None
    id = lone.submit()
    lone.store.break_down()

    def told() -> bool:
        lone.worker.progress.answered()  # which the process asks beside the worker
        return (lone.worker.trouble or "").startswith("stuck: 1 records behind, one waits for the store or the broker")

    await lone.until(told)
    lone.store.mend()
    await lone.until(lambda: lone.engine.open_ids == [id])
    lone.engine.finish(id)
    await lone.until(lambda: lone.state(id) is JobState.SUCCEEDED and not told())
    assert lone.worker.trouble is None
    await lone.worker.close()


async def test_a_worker_counts_what_the_engine_tells(tmp_path: Path):
    lone = await LoneWorker(tmp_path, stall_limit=1000).start()
    told: list[str] = []
    lone.worker.progress.moved = lambda: told.append("moved")
    lone.worker.progress.settled = lambda: told.append("settled")
    id = lone.submit()
    await lone.until(lambda: lone.engine.open_ids == [id])
    lone.engine.say(Progressed(id, Fraction(stage="computing", fraction=0.5)))
    await lone.until(lambda: told)
    lone.engine.finish(id)
    await lone.until(lambda: "settled" in told)
    assert told == ["moved", "moved", "settled"]
    await lone.worker.close()
