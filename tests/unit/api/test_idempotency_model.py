"""Whatever breaks off where, in one process or in two at once: a key that is answered has one job, which is whole."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from enum import Enum
from pathlib import Path
from typing import BinaryIO, TypeVar

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from producer_api.app import create_app
from schemas.errors import StoreUnavailable
from schemas.jobs import LIVE_RUN
from tests.support.api import KEY, Api, SharedProber, until
from turnstream.bus.memory import MemoryBus
from turnstream.object_store.base import ObjectInfo, ObjectStore
from turnstream.object_store.memory import MemoryStore
from turnstream.records import MarkState, Records
from turnstream.settings import Settings

T = TypeVar("T")
STEPS = 40
"""More than any submission takes, with the undoing of it."""


class Fault(Enum):
    REFUSED = "nothing is done"
    UNHEARD = "it is done, and the answer is lost"
    KILLED = "the process dies before it; of its end nobody hears"


class Line(ObjectStore):
    """One process's line to the store that all have. Each step on it may go wrong; a dead process takes none."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self.revive({})

    def revive(self, plan: dict[int, Fault]) -> None:
        """A new process, or the same one; `plan` says which of its steps go wrong."""
        self._plan, self._count, self._dead = plan, 0, False

    def step(self, call: Callable[[], T]) -> T:
        self._count += 1
        fault = self._plan.get(self._count)
        self._dead = self._dead or fault is Fault.KILLED
        if self._dead or fault is Fault.REFUSED:
            raise StoreUnavailable(f"step {self._count}")
        done = call()
        if fault is Fault.UNHEARD:
            raise StoreUnavailable(f"step {self._count}, which was done")
        return done

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> None:
        self.step(lambda: self._store.put(key, data, if_absent=if_absent))

    def put_stream(self, key: str, stream: BinaryIO, *, size: int | None = None, if_absent: bool = False) -> None:
        self.step(lambda: self._store.put_stream(key, stream, size=size, if_absent=if_absent))

    def get(self, key: str) -> bytes:
        return self.step(lambda: self._store.get(key))

    def open(self, key: str, *, offset: int = 0, length: int | None = None):
        return self.step(lambda: self._store.open(key, offset=offset, length=length))

    def stat(self, key: str) -> ObjectInfo:
        return self.step(lambda: self._store.stat(key))

    def list(self, prefix: str, *, start_after: str | None = None) -> Iterator[ObjectInfo]:
        return iter(self.step(lambda: [*self._store.list(prefix, start_after=start_after)]))

    def delete(self, key: str) -> None:
        self.step(lambda: self._store.delete(key))


class World:
    """Two processes of the API over one store and one broker."""

    def __init__(self, folder: Path, prober: SharedProber, audio: bytes) -> None:
        self.store, self.bus = MemoryStore(), MemoryBus()
        self.records = Records(self.store)
        self.lines = [Line(self.store), Line(self.store)]
        self._folder, self._prober, self._audio = folder, prober, audio
        self._opened = AsyncExitStack()
        self._clients: list[httpx.AsyncClient] = []

    async def start(self) -> None:
        for number, line in enumerate(self.lines):
            given = Settings(_env_file=None, api_key=KEY, data_dir=self._folder / str(number), sweep_interval=86400)
            app = create_app(given, store=line, bus=self.bus, prober=self._prober)
            await self._opened.enter_async_context(app.router.lifespan_context(app))
            transport = httpx.ASGITransport(app)
            client = httpx.AsyncClient(transport=transport, base_url="http://api", headers={"x-api-key": KEY})
            api = Api(app, await self._opened.enter_async_context(client), given, self.store, self.bus)
            await until(lambda api=api: api.service.watch.problem is None)
            self._fail_between(api, line)
            self._clients.append(api.client)

    async def stop(self) -> None:
        await self._opened.aclose()

    @staticmethod
    def _fail_between(api: Api, line: Line) -> None:
        """A process may also die between what it stores and what it publishes."""
        publisher = api.service.intake._publisher
        accept = publisher.accept

        async def accepting(*args) -> None:
            line.step(lambda: None)
            await accept(*args)
            line.step(lambda: None)

        publisher.accept = accepting

    async def send(self, process: int) -> httpx.Response:
        return await self._clients[process].post(
            "/api/v1/jobs", files={"audio": ("a.wav", self._audio)}, headers={"Idempotency-Key": "k"}
        )

    def forget(self) -> None:
        for root in ("jobs/", "pending/", "index/", "idempotency/"):
            self.store.delete_prefix(root)

    def indexed(self) -> list[str]:
        """The jobs that are listed."""
        [owner] = Settings(_env_file=None, api_key=KEY).api_keys
        return [job.id for job in self.records.jobs(owner, after=None, limit=100)[0]]


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, prober, blip, runner) -> Iterator[World]:
    world = World(tmp_path_factory.mktemp("world"), prober, blip.read_bytes())
    runner.run(world.start())
    yield world
    runner.run(world.stop())


FAULTS = st.dictionaries(st.integers(1, STEPS), st.sampled_from(Fault), max_size=3)
Round = tuple[list[int], list[dict[int, Fault]]]
"""Which processes are called at once, and what goes wrong in each."""


def rounds(processes: int):
    calls = st.lists(st.integers(0, processes - 1), min_size=1, max_size=3)
    return st.lists(st.tuples(calls, st.lists(FAULTS, min_size=2, max_size=2)), min_size=1, max_size=3)


async def promised(world: World, tried: list[Round]) -> str:
    """Go through it all, and then send once more with nothing in the way: the id of the job."""
    world.forget()
    answered = []
    for calls, plans in tried:
        for line, plan in zip(world.lines, plans, strict=True):
            line.revive(plan)
        answered += await asyncio.gather(*map(world.send, calls))
    for line in world.lines:
        line.revive({})
    last = await world.send(0)
    assert last.status_code == 202, last.text
    assert {answer.status_code for answer in answered} <= {202, 503}
    ids = {answer.json()["id"] for answer in (*answered, last) if answer.status_code == 202}
    assert len(ids) == 1, "whoever was answered was answered with the same job"
    return ids.pop()


def is_whole(world: World, job_id: str) -> bool:
    mark = world.records.mark(job_id, LIVE_RUN)
    assert world.store.get(f"jobs/{job_id}/audio")
    return world.records.has_job(job_id) and mark is not None and mark.state is MarkState.QUEUED


@settings(deadline=None, max_examples=60)
@given(rounds(1))
def test_one_process_that_fails_and_dies_anywhere(world: World, runner: asyncio.Runner, tried: list[Round]):
    job_id = runner.run(promised(world, tried))
    assert is_whole(world, job_id)
    assert world.indexed() == [job_id]
    assert [found for found, _, _ in world.records.pending()] == [job_id]
    assert {info.key.split("/")[1] for info in world.store.list("jobs/")} == {job_id}


@settings(deadline=None, max_examples=60)
@given(rounds(2))
def test_two_processes_at_once(world: World, runner: asyncio.Runner, tried: list[Round]):
    """Where one gave a job up while the other was at it, and died, something of it may be left, until keys are forgotten."""
    job_id = runner.run(promised(world, tried))
    assert is_whole(world, job_id)
    assert job_id in world.indexed()
    for entry in [info.key.removeprefix("idempotency/") for info in world.store.list("idempotency/")]:
        if given_up := world.records.given_up_by(entry):
            world.records.erase(given_up)
    assert world.indexed() == [job_id]
    assert {info.key.split("/")[1] for info in world.store.list("jobs/")} == {job_id}
