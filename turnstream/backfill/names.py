"""What a result is called that lies beside its recording."""

from functools import cache
from pathlib import Path, PurePath

from turnstream.operations import installed

STATE = ".turnstream-backfill.sqlite"
FAILURES = "turnstream-failures.jsonl"
_SUFFIXES = {"text": "txt"}


def result_name(recording: PurePath, operation: str, format_: str) -> PurePath:
    """`talk.mp3` -> `talk.mp3.diarize.json`: talk.wav beside it has another name, and so has its transcript."""
    return recording.with_name(f"{recording.name}.{operation}.{_SUFFIXES.get(format_, format_)}")


def is_ours(path: Path) -> bool:
    """Whether by its name it is the result of a file that lies beside it."""
    return any(path.name.endswith(end) and path.with_name(path.name.removesuffix(end)).is_file() for end in _ends())


@cache
def _ends() -> tuple[str, ...]:
    known = installed()
    formats = ((name, format_) for name, operation in known.items() for format_ in operation.formats)
    return tuple(result_name(PurePath("x"), *each).name.removeprefix("x") for each in formats)
