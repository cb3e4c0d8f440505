"""Options that several commands have, and how they become the parameters of an operation."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from schemas.base import Form
from schemas.jobs import MAX_DURATION_EDIT, MAX_SPEAKERS, Channels, Mode, TranscriptParams
from schemas.operation import Operation

Known = TypeVar("Known")

TURNS, SPEECH, OUTPUT, SERVICE = "Who spoke when", "What was said", "The result", "The service"


def _speakers(help_: str) -> typer.models.OptionInfo:
    return typer.Option(min=1, max=MAX_SPEAKERS, metavar="N", help=help_, rich_help_panel=TURNS)


def _seconds(help_: str) -> typer.models.OptionInfo:
    return typer.Option(min=0, max=MAX_DURATION_EDIT, metavar="SECONDS", help=help_, rich_help_panel=TURNS)


WhichOperation = Annotated[str, typer.Option(help="diarize, transcribe, transcript, or what a plug-in adds.")]
NumSpeakers = Annotated[int | None, _speakers("Exact number of speakers, when known.")]
MinSpeakers = Annotated[int | None, _speakers("At least so many.")]
MaxSpeakers = Annotated[int | None, _speakers("At most so many.")]
HowComputed = Annotated[
    Mode | None,
    typer.Option(
        "--mode",
        help="exact as stock pyannote.audio, or fast; else as the service is set.",
        show_default=False,
        rich_help_panel=TURNS,
    ),
]
WhichChannels = Annotated[
    Channels | None,
    typer.Option(
        "--channels",
        help="split: speakers of their own for each channel, as on the telephone; else they are mixed.",
        show_default=False,
        rich_help_panel=TURNS,
    ),
]
Embeddings = Annotated[
    bool | None,
    typer.Option("--embeddings", help="Have a voice print of each speaker in the result.", rich_help_panel=TURNS),
]
MinDurationOff = Annotated[float | None, _seconds("Fill shorter gaps between two turns of one speaker.")]
MinDurationOn = Annotated[float | None, _seconds("Drop shorter turns.")]
Language = Annotated[
    str | None,
    typer.Option(metavar="CODE", help="Of the speech, such as en; detected where absent.", rich_help_panel=SPEECH),
]
Others = Annotated[
    list[str] | None,
    typer.Option("--param", metavar="NAME=VALUE", help="Another parameter of the operation; may be repeated."),
]
Url = Annotated[
    str | None, typer.Option(help="Address of the service [dim](TURNSTREAM_URL)[/dim].", rich_help_panel=SERVICE)
]
Key = Annotated[str | None, typer.Option(help="API key [dim](API_KEY)[/dim].", rich_help_panel=SERVICE)]
Out = Annotated[Path | None, typer.Option(help="Write the result to this file.", rich_help_panel=OUTPUT)]
FormatName = Annotated[
    str | None,
    typer.Option(
        "--format",
        help="Of the result: json, rttm, csv, srt, vtt, text, as the operation has them; without --out it goes to "
        "standard output.",
        rich_help_panel=OUTPUT,
    ),
]


def one_of(known: Mapping[str, Known], name: str, hint: str) -> Known:
    """Raises BadParameter."""
    if name not in known:
        raise typer.BadParameter(f"there is no {name!r}; there are {', '.join(known)}", param_hint=hint)
    return known[name]


def named(values: Mapping[str, object]) -> dict[str, object]:
    """Those of a command's options that have the name of a parameter."""
    return {name: values[name] for name in TranscriptParams.model_fields if name in values}


def given(options: Mapping[str, object], others: Iterable[str] | None) -> dict[str, object]:
    """What was said on the command line. Raises BadParameter."""
    said = {name: value for name, value in options.items() if value is not None}
    return said | dict(_named(text) for text in others or ())


def params(operation: Operation, said: Mapping[str, object]) -> Form:
    """Raises BadParameter for what the operation does not know, and ValidationError."""
    known = operation.params.model_fields
    for name in said:
        if name not in known:
            raise typer.BadParameter(f"{operation.name} takes no {name}; it takes {', '.join(known)}", param_hint=name)
    return operation.params.model_validate(said)


def _named(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise typer.BadParameter(f"{text!r} is not NAME=VALUE", param_hint="--param")
    return name, value
