"""A picture (SVG) of which model was loaded when, under each schedule."""

from collections.abc import Mapping, Sequence
from html import escape

from tests.bench.scheduling.patterns import MODELS, Pattern
from tests.bench.scheduling.simulation import Outcome
from turnstream.timeline import colour, tick_label, tick_step

# Lengths are in pixels.
WIDTH, LEFT, RIGHT, TOP, ROW = 1000, 120, 130, 70, 20
PLOT = WIDTH - LEFT - RIGHT
SPAN = 1.35
"""The axis ends at so many times the best; what takes longer runs out of the picture."""


def to_svg(pictures: Sequence[tuple[Pattern, Mapping[str, Outcome], int]]) -> str:
    """`pictures`: a pattern, what came of it by schedule, and the best total in milliseconds."""
    body: list[str] = []
    top = TOP
    for pattern, outcomes, best in pictures:
        body += _pattern(pattern, outcomes, best, top)
        top += ROW * len(outcomes) + 64
    heading = "Which model is loaded when; grey: loading; the line: the best that knows the future"
    legend = [
        f'<rect x="{LEFT + 130 * index}" y="38" width="12" height="12" rx="2" fill="{colour(index)}"/>'
        f'<text x="{LEFT + 130 * index + 18}" y="49">{model}</text>'
        for index, model in enumerate(MODELS)
    ]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top}" role="img" '
            'font-family="system-ui, sans-serif" font-size="12" fill="#222">',
            f"<title>{heading}</title>",
            f'<rect width="{WIDTH}" height="{top}" fill="#fff"/>',
            f'<text x="{LEFT}" y="24" font-size="15" font-weight="600">{heading}</text>',
            *legend,
            *body,
            "</svg>\n",
        ]
    )


def _pattern(pattern: Pattern, outcomes: Mapping[str, Outcome], best: int, top: int) -> list[str]:
    span = best * SPAN
    lines = [f'<text x="{LEFT}" y="{top + 14}" font-weight="600">{escape(pattern.name)}</text>']
    for row, (name, outcome) in enumerate(outcomes.items()):
        lines += _strip(pattern, name, outcome, span, top + 22 + row * ROW)
    x, bottom = LEFT + best / span * PLOT, top + 22 + len(outcomes) * ROW
    lines.append(f'<path d="M{x:.1f} {top + 18}V{bottom}" stroke="#222" stroke-dasharray="3 2"/>')
    step = tick_step(span / 1000, 8)
    for number in range(int(span / 1000 / step) + 1):
        x = LEFT + number * step * 1000 / span * PLOT
        label = tick_label(number * step, step)
        lines.append(f'<text x="{x:.1f}" y="{bottom + 14}" text-anchor="middle" fill="#666">{label}</text>')
    return lines


def _strip(pattern: Pattern, name: str, outcome: Outcome, span: float, top: int) -> list[str]:
    def bar(begin: float, end: float, fill: str) -> str:
        left, right = (LEFT + min(at, span) / span * PLOT for at in (begin, end))
        return f'<rect x="{left:.1f}" y="{top}" width="{right - left:.1f}" height="{ROW - 6}" fill="{fill}"/>'

    lines = [f'<text x="{LEFT - 10}" y="{top + 11}" text-anchor="end">{escape(name)}</text>']
    for model, begin, end in outcome.visits:
        if begin - pattern.loads[model] < span:
            lines.append(bar(begin - pattern.loads[model], begin, "#ccc"))
            lines.append(bar(begin, end, colour(MODELS.index(model))))
    total = f"{outcome.total / 1000:.0f} s, {outcome.swaps} swaps"
    return [*lines, f'<text x="{WIDTH - RIGHT + 8}" y="{top + 11}" fill="#666">{total}</text>']
