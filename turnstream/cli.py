"""The console script: finds the command, and turns what it raises into one line and an exit code.

0: done. 1: it failed, and the line says why. 2: the call, a setting or this machine is at fault, and the line says what to do.
130: stopped with Ctrl-C.
"""

import importlib.util
import sys

from pydantic import ValidationError

from schemas.errors import ExtraMissing, LocalError, TurnstreamError

FAILED, USAGE, INTERRUPTED = 1, 2, 130
WANTS = {
    "up": ("local", "faust"),
    "demo": ("local", "faust"),
    "layout": ("api", "confluent_kafka"),
    "dlq": ("api", "confluent_kafka"),
    "compare": ("compare", "pyannote.metrics"),
    "replay": ("api", "confluent_kafka"),
}
"""Command -> the extra it wants, and a module that only this extra brings; the others want `cli`."""


def main() -> None:
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """A command from its arguments to its exit code."""
    try:
        require_extra(arguments[0] if arguments else "")
        from turnstream.commands import app

        app(arguments, prog_name="turnstream")
    except SystemExit as end:  # how typer ends, well or not
        return int(end.code or 0)
    except KeyboardInterrupt:
        return INTERRUPTED
    except (TurnstreamError, ValidationError) as error:
        print(f"turnstream: {one_line(error)}", file=sys.stderr)
        return USAGE if isinstance(error, LocalError | ValidationError) else FAILED
    return 0


def require_extra(command: str) -> None:
    """Raises ExtraMissing with what to type."""
    extra, module = WANTS.get(command, ("cli", "typer"))
    for each in ("typer", "rich", module):
        if not _installed(each):
            what = f"`turnstream {command}`" if command in WANTS else "this command"
            raise ExtraMissing(f"{what} wants the extra {extra!r}: pip install 'turnstream[{extra}]'")


def _installed(module: str) -> bool:
    try:
        return module in sys.modules or importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # what it is a part of
        return False


def one_line(error: TurnstreamError | ValidationError) -> str:
    if isinstance(error, TurnstreamError):
        return error.detail
    first = error.errors()[0]
    of_settings = error.title == "Settings"  # what is below a setting is how pydantic came to its type
    where = str(first["loc"][0]).upper() if of_settings and first["loc"] else ".".join(map(str, first["loc"]))
    says = str(first["msg"]).removeprefix("Value error, ")
    return f"{where}: {says}" if where else says
