"""What becomes of a run as server-sent events, until its end. https://html.spec.whatwg.org/multipage/server-sent-events.html

The store is the truth; what is heard only says when to look. Each event is made when its reader has taken the one before, so a
slow reader gets the latest progress and misses what lay between. The id of an event says all that its reader knows by then: with
it any process goes on where another stopped.
"""

import asyncio
import json
import logging
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from urllib.parse import quote

from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from starlette.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from producer_api.addresses import result_address
from producer_api.results import POLL, POLL_LIMIT, Waiter
from producer_api.service import Service
from schemas.errors import JobNotFound, StoreUnavailable
from schemas.jobs import Job, JobState, JobView
from turnstream.records import Ending
from turnstream.settings import KiB

log = logging.getLogger("turnstream.api")

HEARTBEAT = 15.0
"""Seconds of silence after which a comment is sent, so that nothing between us and the reader thinks the line is dead."""
RETRY = 2000
"""Milliseconds until a reader who lost the stream asks for it again."""
LIFE = 3600.0
"""Seconds after which a stream is ended by us, though the run is not: its reader asks again, if there is one."""
INLINE = 256 * KiB
"""Bytes of a result that comes with its event; of a larger one only the address does."""
STALL = 60.0
"""Seconds after which a reader is left who takes nothing any more."""
RESULT = "result"
LAST = frozenset({RESULT, JobState.FAILED.value, JobState.CANCELLED.value})
"""The ids of events after which nothing comes."""


@dataclass(frozen=True, slots=True)
class Told:
    """An event, before it is written."""

    event: str
    id: str
    data: str

    def written(self) -> bytes:
        return format_sse_event(event=self.event, id=self.id, data_str=self.data)


def news(view: JobView, seen: str) -> Iterator[Told]:
    """What a reader does not know yet whose last event had the id `seen`; but for the result."""
    state, known = view.state.value, seen.partition("/")[0]
    whole = view.model_dump_json(exclude_none=True)
    if view.state is JobState.QUEUED and view.ahead is not None:
        if seen != f"{state}/{view.ahead}":
            yield Told("state", f"{state}/{view.ahead}", whole)
    elif known != state:
        yield Told("state", state, whole)
    if view.progress is not None:
        id_ = f"{state}/{view.progress.fraction:.4f}/{quote(view.progress.stage)}"
        if seen != id_:
            yield Told("progress", id_, view.progress.model_dump_json(exclude_none=True))


def result_of(job: Job, run: str, ending: Ending) -> Told:
    """The result, or where it is."""
    data: dict[str, object] = {"job_id": job.id, "run": run, "address": result_address(job.id, run)}
    if len(ending.body) <= INLINE:
        data["result"] = json.loads(ending.body)
    return Told("result", RESULT, json.dumps(data, ensure_ascii=False))


async def events(service: Service, job: Job, run: str, waiter: Waiter, seen: str) -> AsyncGenerator[bytes]:
    """`seen`: the id of the last event that the reader has, empty where there is none."""
    yield format_sse_event(retry=RETRY)
    until = time.monotonic() + LIFE
    spoke, pause, heard = time.monotonic(), POLL, False
    while not service.results.released and time.monotonic() < until:
        # Of what was heard just now the store knows nothing newer, but of the end, which is heard as well.
        try:
            view = (service.heard(job, run) if heard else None) or await _look(service, job, run, seen)
        except JobNotFound:
            return
        for told in news(view, seen) if view is not None else ():
            yield told.written()
            seen, spoke = told.id, time.monotonic()
        if seen in LAST:
            return
        if view is not None and view.state is JobState.SUCCEEDED and (result := await _result(service, job, run)):
            yield result.written()
            return
        if time.monotonic() - spoke >= HEARTBEAT:
            yield KEEPALIVE_COMMENT
            spoke = time.monotonic()
        heard = await _hears(waiter, pause)
        pause = POLL if heard else min(pause * 1.5, POLL_LIMIT)


async def _result(service: Service, job: Job, run: str) -> Told | None:
    """None where it cannot be had now."""
    try:
        ending = await service.threads.run(service.records.ending, job.id, run)
    except StoreUnavailable as error:
        log.warning("the result of job %s could not be looked for: %s", job.id, error.detail)
        return None
    return result_of(job, run, ending) if ending is not None else None


async def _hears(waiter: Waiter, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await waiter.heard.wait()
    except TimeoutError:
        return False
    waiter.heard.clear()
    return True


async def _look(service: Service, job: Job, run: str, seen: str) -> JobView | None:
    """The run as it is, with its job's place in the queue; None where that cannot be said now. Raises JobNotFound."""
    try:
        view = await service.view_with_place(job, run)
        if view.state.ended:
            return view
        await service.threads.run(service.records.job, job.id)  # erased, maybe
        if view.state is JobState.QUEUED and seen.startswith(JobState.RUNNING.value):
            # That it runs is a hint, and a process that has just started has not got it yet.
            return view if await service.threads.run(service.records.waits_for_retry, job.id, run) else None
    except StoreUnavailable as error:
        log.warning("what became of job %s could not be looked for: %s", job.id, error.detail)
        return None
    return view


class EventStream(StreamingResponse):
    """Gives back what it was opened with, whoever leaves first.

    FastAPI's own response for events reads ahead of its reader, and cannot be answered with a status instead.
    """

    media_type = "text/event-stream"

    def __init__(self, opened: ExitStack, content: AsyncGenerator[bytes]) -> None:
        super().__init__(content, headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        self._opened = opened

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def sending(message: Message) -> None:
            async with asyncio.timeout(STALL):
                await send(message)

        with self._opened, suppress(TimeoutError):
            await super().__call__(scope, receive, sending)
