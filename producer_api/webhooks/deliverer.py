"""The deliverer: one of all API processes sends the webhooks that are due, and those of runs whose end it hears.

A lease says which process, so that nothing is sent twice as a rule and no delivery wants a claim of its own. It is short: when
its holder dies another takes over. Who takes it looks through the whole queue, for ends that nobody heard.
"""

import asyncio
import logging
import time
from datetime import UTC, datetime

from producer_api.metrics import Metrics
from producer_api.threads import Threads
from producer_api.webhooks.guard import Guard
from producer_api.webhooks.lanes import AT_ONCE, Lane, Lanes, Visit
from producer_api.webhooks.lookups import Resolve, resolved
from producer_api.webhooks.payload import Payloads
from producer_api.webhooks.sending import Sender
from producer_api.webhooks.signing import Signer, message_id
from producer_api.webhooks.visits import Clock, Ready, Visits
from schemas.errors import TurnstreamError
from schemas.jobs import JobKey
from schemas.webhooks import WebhookState
from turnstream import points
from turnstream.operations import Operations
from turnstream.records import Records
from turnstream.records.webhooks import milliseconds
from turnstream.settings import Settings

log = logging.getLogger("turnstream.webhooks")

LEASE_NAME = "webhooks"
LEASE = 20.0
"""Seconds the lease lasts; it is taken anew at each turn."""
LOOK = 5.0
"""Seconds between two turns at most: other processes put into the queue, too."""
PAUSE = 0.05
"""Seconds between two turns at least."""
BATCH = 64
LOOKING = 16
OPEN_LIMIT = AT_ONCE + LOOKING
"""Runs that are looked at or told at once: some are looked at while all places for sending are taken."""
MAX_HEARD = 100_000
"""Ends that were heard and not yet looked at. What is beyond is found in the queue."""
LANES_KEPT = 100_000
"""Runs whose lane is remembered: they need not be looked at while it has no place."""


class Deliverer:
    def __init__(
        self,
        settings: Settings,
        records: Records,
        operations: Operations,
        metrics: Metrics,
        *,
        clock: Clock = lambda: datetime.now(UTC),
        resolve: Resolve = resolved,
    ) -> None:
        """`clock` says what is due, and `resolve` who a name is. Raises SettingsInvalid."""
        self._records = records
        self._metrics = metrics
        self._holder = settings.api_holder
        self._clock = clock
        self._threads = Threads(LOOKING)
        self._visits = Visits(records, Payloads(records, operations, settings.public_url), clock)
        self._sender = Sender(Guard.of(settings), Signer(settings.webhook_secrets), resolve)
        self._lanes = Lanes()
        self._lane_of: dict[JobKey, Lane] = {}
        self._heard: dict[JobKey, Visit] = {}
        self._open: dict[JobKey, asyncio.Task[None]] = {}
        self._waiting: set[JobKey] = set()
        self._again: set[JobKey] = set()
        self._closing = False
        self._skipped = False
        """Something is due that found no place, not even to wait."""
        self._missed = False
        """An end was heard and lost again, or may not have been heard: the whole queue is to be looked through."""
        self.leading = False
        """Whether this process is the one."""
        self._led = float("-inf")
        self._wake = asyncio.Event()

    def ended(self, job_id: str, run: str) -> None:
        """The end of a run was heard. Who does not lead need not know: the leader hears it, too."""
        visit = Visit(job_id, run)
        if not self.leading:
            return
        if visit.key in self._open:
            self._again.add(visit.key)  # it may have been looked at a moment before it ended
        elif self._is_known(visit):
            return
        elif len(self._open) < OPEN_LIMIT:
            self._start(visit)
        elif len(self._heard) < MAX_HEARD:
            self._heard[visit.key] = visit
        else:
            self._missed = True

    def wake(self) -> None:
        """Something was put into the queue."""
        self._wake.set()

    async def run(self) -> None:
        """Send what is due, and what is heard; for ever."""
        while True:
            self._wake.clear()
            try:
                delay = await self.turn()
            except TurnstreamError as error:
                log.warning("webhooks wait: %s", error.detail)
                delay = LOOK
            await asyncio.sleep(PAUSE)
            try:
                async with asyncio.timeout(delay):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def turn(self) -> float:
        """Begin to send what is due; returns the seconds until the next turn. Raises StoreUnavailable."""
        if not await self._lead():
            self._metrics.webhooks_due(0, 0.0)  # who leads says it now
            return LOOK
        everything, self._missed, self._skipped = self._missed, False, False
        try:
            return await self._go_through(everything=everything)
        except Exception:
            self._missed = True
            raise

    async def settled(self) -> None:
        """Wait for what was begun."""
        while self._open:
            await asyncio.wait(self._open.values())

    async def close(self, seconds: float) -> None:
        """Give what is under way so long to end; another deliverer tries the rest again."""
        self._closing = True
        if self._open:
            await asyncio.wait(self._open.values(), timeout=seconds)
        for task in self._open.values():
            task.cancel()
        await self.settled()
        try:
            await self._threads.run(self._records.give_back_lease, LEASE_NAME, self._holder)
        except TurnstreamError as error:
            log.debug("the lease stays until its end: %s", error.detail)
        await self._sender.close()
        self._threads.close()

    async def _go_through(self, *, everything: bool) -> float:
        """The queue, as far as it is due, or `everything`. Returns the seconds until more is due."""
        now = milliseconds(self._clock())
        due, oldest, following = 0, now, None
        queue = self._records.queued_webhooks()
        while (following is None or everything) and await self._lead():
            batch = await self._threads.take(queue, BATCH)
            for queued in batch:
                if queued.due > now:
                    following = following or queued.due
                    if not everything:
                        break
                else:
                    due, oldest = due + 1, min(oldest, queued.due)
                await self._begin(Visit(queued.job_id, queued.run, queued))
            if len(batch) < BATCH:
                break
        self._metrics.webhooks_due(due, (now - oldest) / 1000)
        return LOOK if following is None else min((following - now) / 1000, LOOK)

    async def _lead(self) -> bool:
        """Take the lease, or keep it."""
        if not self.leading or time.monotonic() - self._led > LEASE / 4:
            led = time.monotonic()
            leading = await self._threads.run(self._records.take_lease, LEASE_NAME, self._holder, LEASE)
            self._missed |= leading and not self.leading
            self.leading, self._led = leading, led
        return self.leading

    async def _begin(self, visit: Visit) -> None:
        lane = self._lane_of.get(visit.key)
        if self._is_known(visit):
            return
        if lane is not None and not self._lanes.free(lane):
            self._wait(lane, visit)
            return
        while len(self._open) >= OPEN_LIMIT:
            await asyncio.wait(self._open.values(), return_when=asyncio.FIRST_COMPLETED)
        if not self._is_known(visit):
            self._start(visit)

    def _is_known(self, visit: Visit) -> bool:
        return visit.key in self._open or visit.key in self._waiting or visit.key in self._heard

    def _wait(self, lane: Lane, visit: Visit) -> None:
        if len(self._lane_of) < LANES_KEPT:
            self._lane_of[visit.key] = lane
        if self._lanes.wait(lane, visit):
            self._waiting.add(visit.key)
        else:
            self._skipped = True

    def _start(self, visit: Visit) -> None:
        self._open[visit.key] = task = asyncio.create_task(self._deliver(visit))
        task.add_done_callback(lambda _: self._done(visit))

    def _done(self, visit: Visit) -> None:
        del self._open[visit.key]
        if self._closing:
            return
        if visit.key in self._again:
            self._again.discard(visit.key)
            self._start(Visit(*visit.key))
        elif (following := self._lanes.next()) is not None:
            self._waiting.discard(following.key)
            self._start(following)
        elif self._heard:
            self._start(self._heard.pop(next(iter(self._heard))))
        elif self._skipped:
            self._wake.set()

    async def _deliver(self, visit: Visit) -> None:
        self._lane_of.pop(visit.key, None)
        try:
            ready = await self._threads.run(self._visits.look, visit)
            if ready is not None:
                await self._send(ready, visit)
        except TurnstreamError as error:
            self._missed = True
            log.warning("job %s, run %s: its webhook waits: %s", *visit.key, error.detail)
        except Exception:
            log.exception("job %s, run %s: its webhook stays in the queue", *visit.key)

    async def _send(self, ready: Ready, visit: Visit) -> None:
        place = self._lanes.enter(ready.lane)
        if place is None:
            self._wait(ready.lane, visit)
            return
        failed = place.failing  # what is not tried says nothing of its host
        try:
            points.passing("webhook.sending")
            answer = await self._sender.send(ready.url, message_id(*visit.key), ready.body)
            failed = not answer.delivered
            points.passing("webhook.sent")
        finally:
            self._lanes.leave(place, failed=failed)
        state = await self._threads.run(self._visits.settle, ready, answer)
        self._metrics.webhook_tried(answer.outcome, answer.attempt.seconds)
        if state is WebhookState.FAILED:
            self._metrics.webhook_given_up()
            log.warning("job %s, run %s: its webhook was not taken and is given up", *visit.key)
        elif failed:
            said = answer.attempt.error or answer.attempt.status
            log.info("job %s, run %s: its webhook was not taken by %s: %s", *visit.key, ready.lane.host, said)
