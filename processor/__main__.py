"""`python -m processor`: one GPU worker, configured by the environment."""

import argparse
import asyncio
import logging
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from processor import kafka_client, noise
from processor.apart import Apart
from processor.at_least_once import AtLeastOnce
from processor.outbox import Outbox
from processor.session import session
from processor.transactional import Transactional
from schemas.errors import InfrastructureError, LayoutMismatch, LocalError, ReplayRefused
from schemas.topics import Layout, Topic
from turnstream import bus as buses
from turnstream import lifeline
from turnstream import object_store as stores
from turnstream.bus.base import Bus
from turnstream.operations import installed, result_topics
from turnstream.records import Records
from turnstream.settings import Settings
from turnstream.startup import EX_CONFIG, settings_of

if TYPE_CHECKING:
    from processor.app import GpuApp
    from processor.worker import Worker

logger = logging.getLogger("processor")
T = TypeVar("T")

EX_BROKEN, EX_BROKER_FORGOT = 1, 75
"""Exit codes beside 0 and EX_CONFIG: start me again; start me again, the broker lost everything."""
STORE_THREADS = 8
"""Calls to the object store that go on at once."""
LIVE_TOPICS = (Topic.JOBS, Topic.JOBS_RETRY)
WAIT_FOR_BROKER = 1.0
CHECK_INCARNATION = 1.0
"""Seconds between two looks at whether the broker still is the one the worker reads from."""
OUTBOX_CLOSE_LIMIT = 2.0
BUS_CLOSE_LIMIT = 1.0
FAUST_STOP_LIMIT = 3.0
"""Seconds Faust has to leave the group: without a broker it would wait for ever."""


async def serve(settings: Settings, apart: Apart | None = None) -> int:
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(STORE_THREADS, "store"))
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    records, bus = Records(stores.connect(settings)), buses.connect(settings)
    try:
        await bus.start()
        laid_out = await _first(_lay_out(settings, bus, records, apart), _set(stop))
        return 0 if laid_out is None else await _work(settings, records, bus, laid_out, stop, apart)
    except (LayoutMismatch, LocalError) as error:
        logger.critical("%s", error)
        return EX_CONFIG
    finally:
        with suppress(TimeoutError):  # what has to arrive was waited for; a hint of progress need not
            await asyncio.wait_for(bus.close(), BUS_CLOSE_LIMIT)
        records.store.close()


@dataclass(frozen=True)
class LaidOut:
    layout: Layout
    incarnation: str
    """Of `gpu-jobs`."""


async def _work(
    settings: Settings, records: Records, bus: Bus, laid_out: LaidOut, stop: asyncio.Event, apart: Apart | None
) -> int:
    from processor import probes
    from processor.app import GpuApp  # after logging is configured: Faust takes a second to import
    from processor.engine_process import EngineProcess
    from processor.worker import Worker

    outbox = _outbox(settings, bus, laid_out.incarnation)
    app = GpuApp(settings, outbox, LIVE_TOPICS if apart is None else (Topic.JOBS,))
    engine = EngineProcess(settings)
    worker = Worker(settings, records, bus, laid_out.layout, installed(), engine, app, outbox, apart=apart)
    app.attach(worker)

    async def run() -> int:
        await worker.start()
        await app.start()
        logger.info("ready to work: pid %d, group %s", os.getpid(), settings.consumer_group)
        return await _first(
            _then(EX_BROKEN, worker.broken.wait()),
            _then(EX_BROKEN, app.wait_until_stopped()),
            _then(EX_BROKER_FORGOT, _forgotten(bus, laid_out.incarnation, worker.progress.answered)),
        )

    async with probes.serve(
        settings.metrics_host, settings.metrics_port, worker.metrics, lambda: worker.trouble
    ) as address:
        worker.status.probes = address
        try:
            code = await _first(run(), _then(0, stop.wait()))
            logger.info("stopping")
            _end_within(settings.stop_limit)
            await worker.drain(settings.drain_limit)
            if code == 0:
                app.leave()
            return code
        finally:
            await asyncio.gather(_stop(app), _close(worker, outbox))


def _outbox(settings: Settings, bus: Bus, incarnation: str) -> Outbox:
    if not settings.transactional:
        return AtLeastOnce(bus)

    async def still_there() -> bool:
        return await bus.topic_id(Topic.JOBS) == incarnation

    heartbeat = session(settings).heartbeat
    return Transactional(settings.kafka_bootstrap_servers, settings.consumer_group, heartbeat, still_there)


def _end_within(limit: float) -> None:
    """Each step of a stop has its limit, and their sum is no more; this holds where one does not keep to it."""
    timer = threading.Timer(limit, os._exit, (EX_BROKEN,))
    timer.daemon = True
    timer.start()


async def _stop(app: "GpuApp") -> None:
    # Not wait_for: Faust takes no notice of being cancelled.
    await asyncio.wait([asyncio.ensure_future(app.stop())], timeout=FAUST_STOP_LIMIT)


async def _close(worker: "Worker", outbox: Outbox) -> None:
    await worker.close()
    with suppress(TimeoutError):  # what is under way with a broker that is away is settled by whoever comes next
        await asyncio.wait_for(outbox.close(), OUTBOX_CLOSE_LIMIT)


async def _lay_out(settings: Settings, bus: Bus, records: Records, apart: Apart | None) -> LaidOut:
    """Wait for the broker and the store; agree on the layout, see that the topics are there, and, of a group apart, that it has
    begun. Raises LayoutMismatch, ReplayRefused.
    """
    operations = installed()
    while True:
        try:
            layout = await asyncio.to_thread(records.agree_on_layout, settings.partition_groups, operations)
            await bus.ensure_topics(layout.topics(result_topics(operations)))
            incarnation = await bus.topic_id(Topic.JOBS)
            if incarnation is not None:
                if apart is not None:
                    await apart.set_out(bus, records)
                return LaidOut(layout, incarnation)
        except LayoutMismatch:
            raise
        except InfrastructureError as error:
            logger.warning("waiting: %s", error)
        await asyncio.sleep(WAIT_FOR_BROKER)


async def _forgotten(bus: Bus, incarnation: str, answered: Callable[[], None]) -> None:
    """Returns when `gpu-jobs` is another topic than it was: Faust would skip the offsets it has seen before. `answered` hears of
    each answer of the broker.
    """
    while True:
        await asyncio.sleep(CHECK_INCARNATION)
        with suppress(InfrastructureError):
            found = await bus.topic_id(Topic.JOBS)
            answered()
            if found != incarnation:
                logger.warning("the broker lost its topics; starting anew")
                return


async def _first(*works: Coroutine[Any, Any, T]) -> T:
    """The result of the first to end; the others are cancelled."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return done.pop().result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _then(value: T, work: Awaitable[Any]) -> T:
    await work
    return value


async def _set(stop: asyncio.Event) -> None:
    await stop.wait()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m processor",
        description="A GPU worker, configured by the environment (docs/settings.md). With --group, --run and --since it reads "
        "gpu-jobs once more, apart from the live workers, and computes each job there under another run: docs/replay.md.",
    )
    parser.add_argument("--group", metavar="G", help="Kafka group of its own; what it has done is kept under this name")
    parser.add_argument("--run", metavar="NAME", help="name of the run that each job gets")
    parser.add_argument(
        "--since",
        metavar="T",
        help="where the group begins when it is new: a date or a time as in ISO 8601, or how long ago, such as 2h or 7d",
    )
    given = parser.parse_args()
    if len({given.group is None, given.run is None, given.since is None}) > 1:
        parser.error("--group, --run and --since go together")
    return given


def main() -> None:
    given, settings, apart = _arguments(), settings_of(logger), None
    if given.group is not None:
        try:
            apart = Apart.of(given.group, given.run, given.since)
            settings = apart.settings(settings)
        except ReplayRefused as error:
            logger.critical("%s", error)
            sys.exit(EX_CONFIG)
    lifeline.watch(settings.stop_limit)
    noise.tame()
    kafka_client.make_no_topics()
    if not settings.kafka_bootstrap_servers:
        logger.critical("set KAFKA_BOOTSTRAP_SERVERS, or start everything with `turnstream up`")
        sys.exit(EX_CONFIG)
    try:
        code = asyncio.Runner().run(serve(settings, apart))
    except Exception:
        logger.critical("the worker fails", exc_info=True)
        code = EX_BROKEN
    logging.shutdown()
    os._exit(code)  # nothing is left to do, and a task or thread of Faust that waits for a lost broker would stay


if __name__ == "__main__":
    main()
