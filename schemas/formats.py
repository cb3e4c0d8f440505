"""A result in the formats other tools read, made when it is asked for."""

from collections.abc import Callable

from schemas.results import DiarizationResult


def to_json(result: DiarizationResult) -> str:
    return result.model_dump_json(exclude_none=True)


def to_rttm(result: DiarizationResult) -> str:
    """Rich Transcription Time Marked, one SPEAKER line a turn, the job's id as the file's name.

    https://web.archive.org/web/20170119114252/http://www.itl.nist.gov/iad/mig/tests/rt/2009/docs/rt09-meeting-eval-plan-v2.pdf
    (appendix A)
    """
    return "".join(
        f"SPEAKER {result.job_id} 1 {turn.start:.3f} {turn.end - turn.start:.3f} <NA> <NA> {turn.speaker} <NA> <NA>\n"
        for turn in result.segments
    )


FORMATS: dict[str, tuple[str, Callable[[DiarizationResult], str]]] = {
    "json": ("application/json", to_json),
    "rttm": ("text/x-rttm", to_rttm),
}
"""Name in `?format=` -> media type in Accept, and the writer."""
