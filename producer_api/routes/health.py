"""Whether the process lives, and whether it can do its work."""

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel

from producer_api.problems import declare
from producer_api.service import TheService
from schemas.errors import BrokerUnavailable, LayoutMismatch, StoreUnavailable

router = APIRouter(tags=["health"])


class Alive(BaseModel):
    status: Literal["ok"] = "ok"


class Ready(BaseModel):
    status: Literal["ready"] = "ready"


@router.get("/healthz")
async def healthz() -> Alive:
    """The process answers."""
    return Alive()


@router.get("/readyz", responses=declare(BrokerUnavailable, StoreUnavailable, LayoutMismatch))
async def readyz(service: TheService) -> Ready:
    """Jobs can be taken in: the broker answers, the topics are in place, the object store can be written.

    Where not, the problem names the first thing missing in `code`, and all of them in `missing`.
    """
    problems = (service.watch.problem, await service.store_problem())
    missing = {problem.code: problem for problem in problems if problem}
    if missing:
        first, *_ = missing.values()
        raise type(first)(
            "; ".join(problem.detail for problem in missing.values()),
            missing=[problem.info.model_dump() for problem in missing.values()],
        )
    return Ready()
