"""Carrying a schedule out: each fault strikes, or says why not, and is written down."""

import asyncio
import os
import random
import signal
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

import psutil

from tests.chaos.schedule import Act, Fault, Victim, point_after_point, victim_at
from tests.chaos.stacks import Field

AT_ONCE = 3
"""Faults that may be under way at the same time."""
POINT_LIMIT, VICTIM_LIMIT = 8.0, 10.0
"""Seconds until somebody passes a point, and until a victim is there."""
TRIES = 12
"""Points or victims that are drawn for a fault until one can be had."""
LOOK = 0.02
SIGNALS = {Act.KILL: signal.SIGKILL, Act.STOP: signal.SIGSTOP}


@dataclass(frozen=True, slots=True)
class Strike:
    """A fault as it was."""

    at: float
    """Seconds since 1970."""
    act: Act
    victim: Victim
    process: str
    """Its name, or its id where it was met at a point."""
    point: str | None
    struck: bool
    held: float = 0.0

    def __str__(self) -> str:
        where = f" at {self.point}" if self.point else ""
        return f"{self.act} {self.victim} ({self.process}){where}{'' if self.struck else ': not struck'}"

    def row(self, began: float) -> dict[str, Any]:
        return asdict(self) | {"at": round(self.at - began, 3), "held": round(self.held, 2)}


class Striker:
    def __init__(self, field: Field, seed: int, told: Callable[[Strike], None]) -> None:
        self._field, self._told = field, told
        self._others: Iterator[str] = point_after_point(random.Random(seed + 1), field.ground.points)
        self._free = asyncio.Semaphore(AT_ONCE)
        self._arming: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._serving = {victim: asyncio.Lock() for victim in field.servers}
        self.strikes: list[Strike] = []
        self.unreached: list[str] = []
        """Points that nobody passed in time."""

    async def carry_out(self, faults: Sequence[Fault]) -> None:
        async with asyncio.TaskGroup() as group:
            for fault in faults:
                await asyncio.sleep(fault.gap)
                await self._free.acquire()
                group.create_task(self._one(fault)).add_done_callback(lambda _: self._free.release())

    def died(self, victim: Victim) -> list[float]:
        """When the victim was killed."""
        return [each.at for each in self.strikes if each.struck and each.act is Act.KILL and each.victim is victim]

    async def _one(self, fault: Fault) -> None:
        match fault.act:
            case Act.JOIN:
                await self._join(fault)
            case Act.LEAVE:
                await self._at_random(fault, signal.SIGTERM)
            case _ if fault.point is not None:
                await self._at_point(fault, fault.point)
            case _:
                await self._at_random(fault, SIGNALS[fault.act])

    def _note(
        self, fault: Fault, victim: Victim, process: str, *, point: str | None = None, struck: bool = True
    ) -> None:
        strike = Strike(time.time(), fault.act, victim, process, point, struck, fault.hold)
        self.strikes.append(strike)
        self._told(strike)

    # At a named point

    async def _at_point(self, fault: Fault, point: str) -> None:
        for _ in range(TRIES):
            pid = await self._meet(point, SIGNALS[fault.act])
            if pid is not None:
                self._note(fault, victim_at(point), str(pid), point=point)
                if fault.act is Act.STOP:
                    await self._continue(pid, fault.hold)
                return
            self.unreached.append(point)
            point = next(self._others)
        self._note(fault, victim_at(point), "nobody", point=point, struck=False)

    async def _meet(self, point: str, sent: signal.Signals) -> int | None:
        """Who passed the point; None: nobody did in time."""
        order = self._field.points / point
        async with self._arming[point]:  # two orders for one point could not be told apart
            draft = order.with_name(f".{point}")
            draft.write_text(sent.name)
            draft.rename(order)
            deadline = time.monotonic() + POINT_LIMIT
            while time.monotonic() < deadline and order.exists():
                await asyncio.sleep(LOOK)
            with suppress(FileNotFoundError):
                order.unlink()
                return None
            [taken] = order.parent.glob(f"{point}:*")
            pid = int(taken.name.rpartition(":")[2])
            await self._struck(pid)  # which still had to read its order
            taken.unlink()
            return pid

    async def _struck(self, pid: int) -> None:
        still = (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE)
        with suppress(psutil.NoSuchProcess):
            while psutil.Process(pid).status() not in still:
                await asyncio.sleep(LOOK)

    # At random

    async def _at_random(self, fault: Fault, sent: signal.Signals) -> None:
        for victim in self._candidates(fault):
            if found := await self._find(victim, fault.pick):
                return await self._strike(fault, victim, *found, sent)
        self._note(fault, fault.victim, "nobody", struck=False)

    def _candidates(self, fault: Fault) -> list[Victim]:
        """Whom it was drawn for, and whoever else may be there instead."""
        others = () if fault.act is Act.LEAVE else self._field.ground.victims
        return list(dict.fromkeys((fault.victim, *others)))

    async def _find(self, victim: Victim, pick: float) -> tuple[str, int] | None:
        deadline = time.monotonic() + VICTIM_LIMIT
        while time.monotonic() < deadline:
            found = list((await asyncio.to_thread(self._field.processes, victim)).items())
            if found:
                return found[int(pick * len(found)) % len(found)]
            await asyncio.sleep(LOOK)
        return None

    async def _strike(self, fault: Fault, victim: Victim, name: str, pid: int, sent: signal.Signals) -> None:
        if victim in self._serving and sent is signal.SIGKILL:
            return await self._restart(fault, victim)
        with suppress(ProcessLookupError):
            os.kill(pid, sent)
        self._note(fault, victim, name)
        if sent is signal.SIGSTOP:
            await self._continue(pid, fault.hold)
        return None

    async def _restart(self, fault: Fault, victim: Victim) -> None:
        """Of a server that is ours: down for a while, then back on the same port with the same data."""
        server = self._field.servers[victim]
        async with self._serving[victim]:
            await asyncio.to_thread(server.kill)
            self._note(fault, victim, victim.value)
            await asyncio.sleep(fault.hold)
            await asyncio.to_thread(server.start)

    async def _continue(self, pid: int, after: float) -> None:
        await asyncio.sleep(after)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)

    # One more worker

    async def _join(self, fault: Fault) -> None:
        name = await asyncio.to_thread(self._field.join)
        self._note(fault, Victim.WORKER, name)
        await asyncio.sleep(fault.hold)
        await asyncio.to_thread(self._field.leave, name)
