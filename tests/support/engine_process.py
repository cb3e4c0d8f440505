"""A real engine process with the scripted engine in it, and what becomes of its jobs."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

from processor.engine_process import EngineProcess
from processor.engines.base import EngineLost, JobTask, ModelsChanged, Outcome, Progressed
from tests.support.worker import new_job
from turnstream.settings import Settings

LIMIT = 20
"""Seconds any single wait may take on a busy machine."""


def task(filename: str = "a.wav", model: str = "diarize") -> JobTask:
    return JobTask(new_job(filename), "live", model, {})


@asynccontextmanager
async def running(tmp_path: Path, **settings: object) -> AsyncIterator[EngineProcess]:
    engine = EngineProcess(Settings(engine="scripted", data_dir=tmp_path, **settings))
    await engine.start()
    try:
        yield engine
    finally:
        await engine.close()


async def following(engine: EngineProcess, last: Callable[[Outcome | EngineLost], bool]) -> list[Outcome | EngineLost]:
    """Outcomes of jobs up to the one that `last` is true of."""
    seen: list[Outcome | EngineLost] = []
    async with asyncio.timeout(LIMIT), aclosing(engine.outcomes()) as outcomes:
        async for outcome in outcomes:
            if isinstance(outcome, ModelsChanged):
                continue
            seen.append(outcome)
            if last(outcome):
                break
    return seen


async def end_of(engine: EngineProcess, job: JobTask) -> Outcome | EngineLost:
    def ends(outcome: Outcome | EngineLost) -> bool:
        if isinstance(outcome, EngineLost):
            return job.id in outcome.ids
        return outcome.id == job.id and not isinstance(outcome, Progressed)

    return (await following(engine, ends))[-1]
