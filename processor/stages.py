"""From what the engines found to the result of a run: an operation has one stage, or several that are combined."""

import logging
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from processor.delivery import Outcome
from processor.engines.base import Finished
from processor.held import Held
from schemas.errors import EngineFailed
from schemas.jobs import Progress
from turnstream import operations

logger = logging.getLogger(__name__)


def fields(held: Held, finished: Finished) -> dict[str, Any]:
    """What the present stage found, with the time that it waited for its turn."""
    timings = {**finished.result.get("timings", {}), "queue": round(max(0.0, held.opened_at - held.ready_at), 3)}
    return {**finished.result, "timings": timings}


def result(held: Held) -> Outcome:
    """The result of a run whose stages are all done. May take a while: not on the event loop."""
    try:
        found = (
            held.found[held.model] if held.operation.combine is None else _combined(held.operation.combine, held.found)
        )
        return held.operation.result.model_validate({**found, "job_id": held.job.id, "run": held.run})
    except ValidationError as error:
        logger.exception("the engine's result for %s does not fit", held.id)
        return EngineFailed(f"The engine's result does not fit: {error.error_count()} fields are wrong").info
    except Exception as error:
        logger.exception("the stages of %s cannot be combined", held.id)
        return EngineFailed(f"The stages cannot be combined: {type(error).__name__}").info


def progress(held: Held, of_stage: Progress) -> Progress:
    """Of the whole job. What later stages will take is not known before they begin."""
    stages = len(held.operation.models)
    if stages == 1:
        return of_stage
    done = len(held.found)
    eta = of_stage.eta if done == stages - 1 else None
    return Progress(stage=of_stage.stage, fraction=round((done + of_stage.fraction) / stages, 4), eta=eta)


def _combined(combine: str, found: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    return operations.load(combine)(found)
