"""The stack on one machine: broker, API and workers as children of one supervisor, in one terminal.

What dies is started again, a little later each time. A broker that starts again is empty: its topics are made and verified
first, then the workers join their group anew, and the API's sweep publishes what is pending. `<data>/run/stack.json` says
where all of it is.
"""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing

from schemas.errors import (
    BrokerUnavailable,
    StackFailed,
    StoreUnavailable,
    TurnstreamError,
)
from schemas.topics import Layout
from turnstream import bus, object_store, run_dir, shares
from turnstream.bus.embedded import HOST, broker_command
from turnstream.child import Child, Say, described
from turnstream.client import Client
from turnstream.lifeline import Lifeline
from turnstream.memory import resident
from turnstream.operations import installed, result_topics
from turnstream.ports import claim_port
from turnstream.records import Records
from turnstream.settings import GiB, Settings

FIRST_DELAY, LAST_DELAY, STEADY = 0.2, 30.0, 10.0
"""Seconds before a dead child is started again: at first, and at most; one that held for the third begins anew."""
TERM_MARGIN = 1.0
"""Seconds that worker and API have to stop in order, beyond those a worker needs at most."""
CONFIGURATION_ERRORS = frozenset({2, os.EX_CONFIG})
"""Exit codes of a child that would die of the same cause each time."""
BROKER_SEES = ("PATH", "HOME", "TMPDIR", "LANG", "LD_LIBRARY_PATH", "PYTHONPATH")
"""Variables that the embedded broker inherits. It reads many more, such as OTEL_* and SCHEMA_REGISTRY, meant for others."""
BROKER_MEMORY, MEMORY_CHECK = 1 * GiB, 30.0
"""The embedded broker keeps all events in memory: beyond so many bytes it is restarted when idle; looked at so often."""
THREADS = 16
"""Waits that may go on at once beside those for workers: a child has one for its end and one for its stop, none may queue."""
READY_POLL = 0.1
STORE_POLL = 1.0


class Stack:
    """Broker (unless KAFKA_BOOTSTRAP_SERVERS names one), API and workers."""

    def __init__(self, settings: Settings, say: Say) -> None:
        """Raises PortTaken or SettingsInvalid before anything is started."""
        settings.require_protection()
        self._say = say
        self._lifeline = Lifeline()
        self._embedded = not settings.kafka_bootstrap_servers
        broker_port = claim_port(HOST, settings.broker_port, "--broker-port") if self._embedded else 0
        self.settings = settings.model_copy(
            update={
                "data_dir": settings.data_dir.absolute(),
                "port": claim_port(settings.host, settings.port),
                "kafka_bootstrap_servers": settings.kafka_bootstrap_servers or f"{HOST}:{broker_port}",
            }
        )
        command, extra = broker_command(broker_port) if self._embedded else ([], {})
        inherited = {name: os.environ[name] for name in BROKER_SEES if name in os.environ}
        self._broker = Child("broker", command, inherited | extra, self._lifeline, say, guarded=True)
        self._api = self._python("api", "producer_api", {})
        self._workers = self._make_workers()
        self._term_limit = settings.stop_limit + TERM_MARGIN
        self._children = [*([self._broker] if self._embedded else []), self._api, *self._workers]
        self._stopping = asyncio.Event()
        self._broker_lost = asyncio.Event()
        self._topics_there = asyncio.Event()
        self._topics_there.set()  # at first API and workers make them, while they start beside the broker
        self._laid_out = asyncio.Event()
        self._ready = False

    @property
    def url(self) -> str:
        host = self.settings.host
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not listened on
        return f"http://{f'[{host}]' if ':' in host else host}:{self.settings.port}"

    def stop(self) -> None:
        self._stopping.set()

    async def run(self, ready: Callable[[], None] = lambda: None) -> None:
        """Until `stop`; calls `ready` once. Raises what makes it pointless to go on."""
        failures: list[TurnstreamError] = []
        with run_dir.locked(self.settings.data_dir):
            try:
                async with asyncio.TaskGroup() as group:
                    work = [self._lay_out(), self._announce(ready), *(self._keep(child) for child in self._children)]
                    work += [self._mend(), self._trim_broker()] if self._embedded else []
                    tasks = [group.create_task(each) for each in work]
                    await self._stopping.wait()
                    for task in tasks:
                        task.cancel()
            except* TurnstreamError as errors:
                failures += [error for error in errors.exceptions if isinstance(error, TurnstreamError)]
            finally:
                await self._stop_children()
        if failures:
            raise failures[0]

    async def _keep(self, child: Child) -> None:
        delay = FIRST_DELAY
        while True:
            if child is not self._broker:
                await self._laid_out.wait()
            if child in self._workers:
                await self._topics_there.wait()
            began = time.monotonic()
            code = await child.run(self._write_state)
            if child is self._broker:
                self._topics_there.clear()
                self._broker_lost.set()
            if child.stopping:
                continue
            child.deaths += 1
            if code in CONFIGURATION_ERRORS:
                raise StackFailed(f"the {child.name} refuses to start ({described(code)}); its last lines say why")
            delay = FIRST_DELAY if time.monotonic() - began > STEADY else delay
            self._say("stack", f"the {child.name} died ({described(code)}); started again in {delay:.1f} s")
            await asyncio.sleep(delay)
            delay = min(delay * 2, LAST_DELAY)

    async def _lay_out(self) -> None:
        """Partitions for every worker, of each operation. The embedded broker begins empty, so they may grow at each start."""
        workers, groups = self.settings.workers, self.settings.partition_groups
        if self._embedded:
            groups = await self._grown(max(workers, groups))
            self.settings = self.settings.model_copy(update={"partition_groups": groups})
            for child in (self._api, *self._workers):
                child.env["PARTITION_GROUPS"] = str(groups)
        elif workers > groups:
            self._say(
                "stack", f"jobs of one operation reach only {groups} of {workers} workers at a time; to change that:"
            )
            self._say(
                "stack", f"    turnstream layout grow {workers}, then PARTITION_GROUPS={workers} for API and workers"
            )
        self._laid_out.set()

    async def _grown(self, wanted: int) -> int:
        waiting = False
        with closing(object_store.connect(self.settings)) as store:
            while True:
                try:
                    return await asyncio.to_thread(_grow, Records(store), wanted)
                except StoreUnavailable as error:
                    if not waiting:
                        self._say("stack", f"waiting for the object store: {error.detail}")
                    waiting = True
                    await asyncio.sleep(STORE_POLL)

    async def _mend(self) -> None:
        """After each end of the broker: topics first, then workers that join their group anew."""
        while True:
            await self._broker_lost.wait()
            self._broker_lost.clear()
            await asyncio.gather(*(worker.stop(self._term_limit) for worker in self._workers))
            await self._laid_out.wait()
            await self._make_topics()
            self._topics_there.set()
            self._say("stack", "the broker is back, its topics are made; what is pending is published again")

    async def _make_topics(self) -> None:
        topics = Layout(groups=self.settings.partition_groups).topics(result_topics(installed()))
        async with _connected(self.settings) as broker:
            while True:
                try:
                    return await broker.ensure_topics(topics)
                except BrokerUnavailable:
                    await asyncio.sleep(READY_POLL)

    async def _trim_broker(self) -> None:
        with closing(object_store.connect(self.settings)) as store:
            while True:
                await asyncio.sleep(MEMORY_CHECK)
                pid = self._broker.pid
                if pid is None or resident(pid) < BROKER_MEMORY or not await asyncio.to_thread(_idle, Records(store)):
                    continue
                self._say("stack", "the broker has grown and nothing is pending: it starts afresh")
                await self._broker.kill()

    async def _announce(self, ready: Callable[[], None]) -> None:
        with Client(self.url) as client:
            while not (self._workers_ready() and await asyncio.to_thread(client.ready)):  # noqa: ASYNC110 - of other processes
                await asyncio.sleep(READY_POLL)
        self._ready = True
        self._write_state()
        ready()

    def _workers_ready(self) -> bool:
        states = ((worker, run_dir.read_state(self.settings.data_dir, worker.name)) for worker in self._workers)
        return all(state.get("state") == "ready" and state.get("pid") == worker.pid for worker, state in states)

    async def _stop_children(self) -> None:
        """The door first, then the work, then what both stand on."""
        working = [self._api, *self._workers]
        for child in working:
            child.terminate()
        await asyncio.gather(*(child.stop(self._term_limit) for child in working))
        await self._broker.kill()  # it keeps nothing, and would wait for every consumer to leave
        self._lifeline.close()
        run_dir.forget_state(self.settings.data_dir, "stack")

    def _make_workers(self) -> list[Child]:
        gpus = shares.gpus(self.settings, os.environ)
        if self.settings.workers > len(gpus) > 0:
            said = f"{self.settings.workers} workers share {len(gpus)} GPU{'s' if len(gpus) > 1 else ''}"
            self._say("stack", f"{said}: MODEL_MEMORY_BUDGET says how much of it each may take for models")
        found = shares.shares(self.settings, os.environ, gpus)
        return [self._python(share.name, "processor", share.env) for share in found]

    def _python(self, name: str, module: str, env: Mapping[str, str]) -> Child:
        settings = {
            "DATA_DIR": str(self.settings.data_dir),
            "HOST": self.settings.host,
            "PORT": str(self.settings.port),
            "KAFKA_BOOTSTRAP_SERVERS": self.settings.kafka_bootstrap_servers,
            "PYTHONUNBUFFERED": "1",
        }
        command = [sys.executable, "-P", "-m", module]
        return Child(name, command, {**os.environ, **settings, **env}, self._lifeline, self._say, guarded=False)

    def _write_state(self) -> None:
        state = {
            "pid": os.getpid(),
            "state": "ready" if self._ready else "starting",
            "url": self.url,
            "bootstrap": self.settings.kafka_bootstrap_servers,
            "deaths": {child.name: child.deaths for child in self._children},
            "pids": {child.name: child.pid for child in self._children if child.pid is not None},
        }
        run_dir.write_state(self.settings.data_dir, "stack", state)


def stop_limit(settings: Settings) -> float:
    """Seconds in which all of a stack is over, at most."""
    return settings.stop_limit + TERM_MARGIN + 1


async def up(settings: Settings, say: Say) -> None:
    """Run the stack until SIGINT or SIGTERM."""
    stack = Stack(settings, say)
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(THREADS + 2 * settings.workers))
    for each in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(each, stack.stop)

    def ready() -> None:
        say("stack", f"ready: {stack.url} (reference: {stack.url}/docs). Ctrl-C stops it. In another terminal:")
        say("stack", f"    turnstream submit FILE{'' if stack.settings.port == 8000 else f' --url {stack.url}'}")
        topics = ", ".join(result_topics(installed()))
        say("stack", f"events: {topics} on the broker at {stack.settings.kafka_bootstrap_servers}")

    many = f"{settings.workers} workers" if settings.workers > 1 else "worker"
    say("stack", f"starting broker, API and {many} ...")
    await stack.run(ready)
    say("stack", "stopped")


@asynccontextmanager
async def _connected(settings: Settings) -> AsyncGenerator[bus.Bus]:
    broker = bus.connect(settings)
    await broker.start()
    try:
        yield broker
    finally:
        await broker.close()


def _grow(records: Records, wanted: int) -> int:
    """Groups of partitions that the layout has from now on: `wanted`, or what it had, if that is more."""
    layout = records.layout()
    if layout is None or layout.groups < wanted:
        return wanted if layout is None else records.grow_layout(wanted).groups
    return layout.groups


def _idle(records: Records) -> bool:
    try:
        return next(records.pending(), None) is None
    except StoreUnavailable:
        return False
