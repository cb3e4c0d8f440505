"""What a worker answers where it is asked how it is."""

import httpx

from tests.support.metrics import samples
from tests.support.stack import Stack

GETS_ON, STANDS_STILL = (200, 0.0), (503, 1.0)


def progress(stack: Stack) -> tuple[int, float]:
    """Of a stack with one worker: the status of its /readyz, and its `turnstream_progress_stalled`."""
    probes = stack.worker()["probes"]
    readiness, metrics = (httpx.get(f"{probes}/{what}", timeout=30) for what in ("readyz", "metrics"))
    return readiness.status_code, samples(metrics.text)["turnstream_progress_stalled"]
