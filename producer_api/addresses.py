"""Where callers find what: a run, and its result."""

from schemas.jobs import LIVE_RUN


def address(job_id: str, run: str = LIVE_RUN) -> str:
    return f"/api/v1/jobs/{job_id}{_query(run)}"


def result_address(job_id: str, run: str = LIVE_RUN) -> str:
    return f"/api/v1/jobs/{job_id}/result{_query(run)}"


def _query(run: str) -> str:
    return "" if run == LIVE_RUN else f"?run={run}"
