"""Processor time and memory of a stack, by process, while it runs."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

import psutil

from tests.support.stack import Stack


@dataclass(frozen=True)
class Usage:
    cpu: float = 0.0
    """Seconds of processor time since the process began."""
    rss: int = 0
    """Bytes."""


def usage(stack: Stack, others: Mapping[str, int]) -> dict[str, Usage]:
    """Of the stack's processes, of the API's helpers together, and of `others` (name -> pid)."""
    pids = {"supervisor": stack.pid, **stack.pids, **others}
    return {name: _of([pid]) for name, pid in pids.items()} | {"api helpers": _of(_children(pids["api"]))}


def cpu_by_job(before: Mapping[str, Usage], after: Mapping[str, Usage], jobs: int) -> dict[str, float]:
    """Milliseconds of processor time a job, by process and in all."""
    spent = {name: 1000 * (after[name].cpu - before[name].cpu) / jobs for name in after if name in before}
    return {name: round(each, 2) for name, each in (*spent.items(), ("all", sum(spent.values())))}


def _children(pid: int) -> list[int]:
    with suppress(psutil.NoSuchProcess):
        return [child.pid for child in psutil.Process(pid).children(recursive=True)]
    return []


def _of(pids: list[int]) -> Usage:
    cpu, rss = 0.0, 0
    for pid in pids:
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            times = process.cpu_times()
            cpu += times.user + times.system
            rss += process.memory_info().rss
    return Usage(cpu, rss)
