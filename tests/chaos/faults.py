"""Carrying a schedule out: each fault waits until there is somebody to strike, and is written down."""

import asyncio
import math
import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import cycle
from typing import Any

from tests.chaos.ambush import Ambush
from tests.chaos.schedule import Act, Fault, Victim, victim_at
from tests.chaos.stacks import Field

AT_ONCE = 3
"""Faults that may be under way at the same time."""
VICTIM_LIMIT = 10.0
"""Seconds until a victim is there; then another one is looked for."""
STEPS, BREATH = 3, 10.0
"""So many jobs that are accepted, and so many that are told, show that a stack lives again; the next fault waits for that, so
many seconds at most. Else a slow stack is only ever killed at its first step, and meets no other.
"""
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
    """`life`: how much the stack has done so far, as counts that only rise."""

    def __init__(self, field: Field, told: Callable[[Strike], None], life: Callable[[], Sequence[int]]) -> None:
        self._field, self._told, self._life = field, told, life
        self._before = life()
        self._free = asyncio.Semaphore(AT_ONCE)
        self._serving = {victim: asyncio.Lock() for victim in field.servers}
        self._until = math.inf
        self.ambush = Ambush(field.points)
        self.strikes: list[Strike] = []

    async def carry_out(self, faults: Sequence[Fault], limit: float) -> None:
        """All of them, within `limit` seconds: what has found nobody by then has not struck."""
        self._until = time.monotonic() + limit
        async with asyncio.TaskGroup() as group:
            for fault in faults:
                await asyncio.sleep(min(fault.gap, self._time_left))
                await self._breath()
                await self._free.acquire()
                group.create_task(self._one(fault)).add_done_callback(lambda _: self._free.release())

    async def _breath(self) -> None:
        deadline = min(time.monotonic() + BREATH, self._until)
        while time.monotonic() < deadline and any(
            now < before + STEPS for now, before in zip(self._life(), self._before, strict=True)
        ):
            await asyncio.sleep(LOOK)

    @property
    def _time_left(self) -> float:
        return max(0.0, self._until - time.monotonic())

    def died(self, victim: Victim) -> list[float]:
        """When the victim was killed."""
        return [each.at for each in self.strikes if each.struck and each.act is Act.KILL and each.victim is victim]

    async def _one(self, fault: Fault) -> None:
        if not self._time_left:
            return self._miss(fault)
        match fault.act:
            case Act.JOIN:
                await self._join(fault)
            case Act.LEAVE:
                await self._at_random(fault, signal.SIGTERM)
            case _ if fault.points:
                await self._at_points(fault)
            case _:
                await self._at_random(fault, SIGNALS[fault.act])
        return None

    def _note(
        self, fault: Fault, victim: Victim, process: str, *, point: str | None = None, struck: bool = True
    ) -> None:
        strike = Strike(time.time(), fault.act, victim, process, point, struck, fault.hold)
        self.strikes.append(strike)
        self._before = self._life()
        self._told(strike)

    def _miss(self, fault: Fault) -> None:
        point = fault.points[0] if fault.points else None
        self._note(fault, fault.victim, "nobody", point=point, struck=False)

    # At named points

    async def _at_points(self, fault: Fault) -> None:
        met = await self.ambush.meet(fault.points, SIGNALS[fault.act], self._until)
        for point, pid in met:
            self._note(fault, victim_at(point), str(pid), point=point)
        if not met:
            self._miss(fault)
        elif fault.act is Act.STOP:
            await asyncio.gather(*(self._continue(pid, fault.hold) for _, pid in met))

    # At random

    async def _at_random(self, fault: Fault, sent: signal.Signals) -> None:
        for victim in cycle(self._candidates(fault)):
            found = await self._find(victim, fault.pick)
            if found is not None and await self._strike(fault, victim, *found, sent):
                return
            if not self._time_left:
                return self._miss(fault)

    def _candidates(self, fault: Fault) -> list[Victim]:
        """Whom it was drawn for, and whoever else may be there instead."""
        others = () if fault.act is Act.LEAVE else self._field.ground.victims
        return list(dict.fromkeys((fault.victim, *others)))

    async def _find(self, victim: Victim, pick: float) -> tuple[str, int] | None:
        deadline = min(time.monotonic() + VICTIM_LIMIT, self._until)
        while time.monotonic() < deadline:
            found = list((await asyncio.to_thread(self._field.processes, victim)).items())
            if found:
                return found[int(pick * len(found)) % len(found)]
            await asyncio.sleep(LOOK)
        return None

    async def _strike(self, fault: Fault, victim: Victim, name: str, pid: int, sent: signal.Signals) -> bool:
        """False where the victim has gone since."""
        if victim in self._serving and sent is signal.SIGKILL:
            await self._restart(fault, victim)
            return True
        try:
            os.kill(pid, sent)
        except ProcessLookupError:
            return False
        self._note(fault, victim, name)
        if sent is signal.SIGSTOP:
            await self._continue(pid, fault.hold)
        return True

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
