"""A result for the eye: who spoke when, as rows of a terminal or as a picture (SVG), and who said what."""

from collections.abc import Sequence
from html import escape

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from schemas.results import DiarizationResult, Segment, SpeakerStats, TranscriptResult
from schemas.subtitles import NOBODY, one_line

# Okabe and Ito's colours, which people who see colours differently tell apart: https://jfly.uni-koeln.de/color/
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#B8A800", "#7F7F7F")
EIGHTHS = " ▏▎▍▌▋▊▉█"
LABEL_WIDTH = 20


def colour(index: int) -> str:
    return PALETTE[index % len(PALETTE)]


def clock(seconds: float, places: int = 1) -> str:
    """`m:ss.s` with so many places, from an hour on `h:mm:ss`."""
    if seconds < 3600:
        parts = round(seconds * 10**places)
        minute = 60 * 10**places
        return f"{parts // minute}:{parts % minute / 10**places:0{places + 3 if places else 2}.{places}f}"
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"


def tick_step(duration: float, most: int) -> float:
    """A round number of seconds between two ticks, so that at most `most` of them fit."""
    steps = (0.1, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400)
    return next((step for step in steps if duration / step <= most), steps[-1])


def tick_label(seconds: float, step: float) -> str:
    return clock(seconds, 0 if step >= 1 else 1)


def stats(result: DiarizationResult) -> dict[str, SpeakerStats]:
    """By speaker; of a result that was made before results had them, counted from its turns."""
    counted = {speaker: 0.0 for speaker in result.speakers}
    for turn in result.segments:
        counted[turn.speaker] = counted.get(turn.speaker, 0.0) + turn.end - turn.start
    total = sum(counted.values()) or 1.0
    found = {
        name: SpeakerStats(speaker=name, speaking_time=seconds, share=min(seconds / total, 1.0))
        for name, seconds in counted.items()
    }
    return found | {each.speaker: each for each in result.speaker_stats}


def cells(turns: Sequence[Segment], duration: float, width: int) -> list[float]:
    """Which part of each of `width` equal stretches of the recording is speech."""
    filled = [0.0] * width
    scale = width / duration if duration > 0 else 0.0
    for turn in turns:
        low, high = turn.start * scale, min(turn.end * scale, float(width))
        for cell in range(int(low), min(int(high) + 1, width)):
            filled[cell] += max(0.0, min(high, cell + 1) - max(low, cell))
    return [min(part, 1.0) for part in filled]


def bar(turns: Sequence[Segment], duration: float, width: int, *, plain: bool) -> str:
    """One speaker's row. A stretch with any speech shows at least a sliver; `plain` is for terminals without Unicode."""
    if plain:
        return "".join("#" if part >= 0.5 else "-" if part > 0 else " " for part in cells(turns, duration, width))
    return "".join(EIGHTHS[max(1, round(part * 8))] if part > 0 else " " for part in cells(turns, duration, width))


def axis(duration: float, width: int) -> str:
    """Times under the rows, each beginning at its place."""
    line = [" "] * width
    step = tick_step(duration, max(1, width // 12))
    tick, free = 0.0, 0
    while duration > 0 and tick <= duration:
        at, label = int(tick / duration * width), tick_label(tick, step)
        if at >= free and at + len(label) <= width:
            line[at : at + len(label)] = label
            free = at + len(label) + 1
        tick += step
    return "".join(line)


def timeline(result: DiarizationResult, console: Console) -> RenderableType:
    """A row a speaker, as wide as the terminal; the rows keep speakers apart where there is no colour."""
    duration = result.audio.duration
    plain = not (console.encoding or "").lower().startswith("utf")
    label = min(LABEL_WIDTH, max((len(name) for name in result.speakers), default=0))
    width = max(10, console.width - label - 17)
    rows = Table.grid(padding=(0, 1))
    rows.add_column(width=label, no_wrap=True)
    rows.add_column(width=width, no_wrap=True)
    for _ in ("speaking time", "share"):
        rows.add_column(justify="right", no_wrap=True)
    known = stats(result)
    for index, speaker in enumerate(result.speakers):
        turns = [turn for turn in result.segments if turn.speaker == speaker]
        rows.add_row(
            Text(speaker, colour(index)),
            Text(
                bar(turns, duration, width, plain=plain), f"{colour(index)} on grey15" if not plain else colour(index)
            ),
            Text(clock(known[speaker].speaking_time), "dim"),
            Text(f"{known[speaker].share:.0%}", "dim"),
        )
    rows.add_row("", Text(axis(duration, width), "dim"))
    return rows if result.speakers else Text("Nobody speaks in this recording.")


def turns_table(result: DiarizationResult, limit: int = 40) -> RenderableType:
    """The first `limit` turns, and how many more there are."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("speaker")
    sure = any(turn.confidence is not None for turn in result.segments)
    for name in ("start", "end", "length", *(["confidence"] if sure else [])):
        table.add_column(name, justify="right")
    index = {speaker: number for number, speaker in enumerate(result.speakers)}
    for turn in result.segments[:limit]:
        table.add_row(
            Text(turn.speaker, colour(index.get(turn.speaker, 0))),
            clock(turn.start, 2),
            clock(turn.end, 2),
            f"{turn.end - turn.start:.2f} s",
            *(["" if turn.confidence is None else f"{turn.confidence:.2f}"] if sure else []),
        )
    more = len(result.segments) - limit
    return Group(table, Text(f"... and {more} more turns", "dim")) if more > 0 else table


def speakers_table(result: TranscriptResult) -> RenderableType:
    """How much everybody spoke: a row a speaker."""
    table = Table.grid(padding=(0, 1))
    table.add_column(no_wrap=True, max_width=LABEL_WIDTH)
    for _ in ("speaking time", "share"):
        table.add_column(justify="right", no_wrap=True)
    for index, known in enumerate(result.speaker_stats):
        time, share = Text(clock(known.speaking_time), "dim"), Text(f"{known.share:.0%}", "dim")
        table.add_row(Text(known.speaker, colour(index)), time, share)
    return table


def said_table(result: TranscriptResult) -> RenderableType:
    """Who said what: a row a segment."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("time", justify="right", no_wrap=True, style="dim")
    table.add_column("speaker", no_wrap=True, max_width=LABEL_WIDTH)
    table.add_column("text")
    index = {speaker: number for number, speaker in enumerate(result.speakers)}
    for segment in result.segments:
        number = index.get(segment.speaker or "")
        name = Text(segment.speaker or NOBODY, "dim" if number is None else colour(number))
        table.add_row(clock(segment.start), name, Text(one_line(segment.text)))
    return table if result.segments else Text("Nobody says anything in this recording.")


# The picture. Lengths are in pixels.
WIDTH, LEFT, RIGHT, TOP, ROW = 1000, 185, 110, 44, 34
PLOT = WIDTH - LEFT - RIGHT


def to_svg(result: DiarizationResult, title: str) -> str:
    """A picture that needs nothing else: speakers by row and colour, each turn with its times as a tool tip."""
    duration = max(result.audio.duration, 0.001)
    height = TOP + ROW * max(1, len(result.speakers)) + 34
    count = f"{len(result.speakers)} speaker{'' if len(result.speakers) == 1 else 's'}"
    heading = f"{title}: {count}, {clock(result.audio.duration)}"
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        'font-family="system-ui, sans-serif" font-size="13" fill="#222">',
        f"<title>{escape(heading)}</title>",
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
        f'<text x="{LEFT}" y="26" font-size="16" font-weight="600">{escape(heading)}</text>',
        *_ticks(duration, height),
    ]
    known = stats(result)
    for row, speaker in enumerate(result.speakers):
        lines += _row(result.segments, known[speaker], row, duration)
    return "\n".join([*lines, "</svg>\n"])


def _ticks(duration: float, height: int) -> list[str]:
    step = tick_step(duration, 10)
    ticks = [number * step for number in range(int(duration / step) + 1)]
    return [
        f'<path d="M{_x(tick, duration):.1f} {TOP}V{height - 30}" stroke="#ddd"/>'
        f'<text x="{_x(tick, duration):.1f}" y="{height - 12}" text-anchor="middle" fill="#666">{tick_label(tick, step)}</text>'
        for tick in ticks
    ]


def _row(turns: Sequence[Segment], known: SpeakerStats, row: int, duration: float) -> list[str]:
    top, speaker = TOP + row * ROW, known.speaker
    lines = [f'<text x="{LEFT - 12}" y="{top + 21}" text-anchor="end">{escape(speaker)}</text>']
    for turn in turns:
        if turn.speaker == speaker:
            left, width = _x(turn.start, duration), max((turn.end - turn.start) / duration * PLOT, 1)
            lines.append(
                f'<rect x="{left:.1f}" y="{top + 6}" width="{width:.1f}" height="{ROW - 12}" rx="3" fill="{colour(row)}">'
                f"<title>{escape(speaker)} {clock(turn.start)} to {clock(turn.end)}</title></rect>"
            )
    share = f'<text x="{WIDTH - RIGHT + 12}" y="{top + 21}" fill="#666">{clock(known.speaking_time)}, {known.share:.0%}</text>'
    return [*lines, share]


def _x(seconds: float, duration: float) -> float:
    return LEFT + seconds / duration * PLOT
