"""Charts as SVG, drawn with lines, dots and words alone."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from turnstream.timeline import colour

# Lengths are in pixels.
WIDTH, HEIGHT = 460, 330
LEFT, RIGHT, TOP, BOTTOM = 66, 24, 44, 52
_LETTER = 6.6

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Series:
    name: str
    points: Sequence[Point]
    labels: Sequence[str] = ()
    line: bool = True


@dataclass(frozen=True, slots=True)
class Axis:
    title: str
    low: float
    high: float
    log: bool = False

    def place(self, value: float) -> float:
        """0 to 1 along the axis."""
        if self.log:
            return (math.log10(value) - math.log10(self.low)) / (math.log10(self.high) - math.log10(self.low))
        return (value - self.low) / (self.high - self.low)

    def ticks(self) -> list[float]:
        if self.log:
            powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            values = [factor * 10.0**power for power in powers for factor in (1, 2, 5)]
            return [value for value in values if self.low * 0.999 <= value <= self.high * 1.001]
        step = _round_step((self.high - self.low) / 5)
        return [index * step for index in range(math.ceil(self.low / step), math.floor(self.high / step + 1e-9) + 1)]


def _round_step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)


@dataclass(frozen=True, slots=True)
class Chart:
    title: str
    x: Axis
    y: Axis
    series: Sequence[Series]


def page(charts: Sequence[Chart]) -> str:
    """Charts beside each other, under one legend."""
    names = list(dict.fromkeys(series.name for chart in charts for series in chart.series))
    width, height = WIDTH * len(charts), HEIGHT + 34
    body = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        'font-family="system-ui, sans-serif" font-size="12" fill="#222">',
        f"<title>{escape('; '.join(chart.title for chart in charts))}</title>",
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
    ]
    at = float(LEFT)
    for index, name in enumerate(names):
        body.append(f'<circle cx="{at:.1f}" cy="{HEIGHT + 14}" r="5" fill="{colour(index)}"/>')
        body.append(f'<text x="{at + 10:.1f}" y="{HEIGHT + 18}">{escape(name)}</text>')
        at += 34 + _LETTER * len(name)
    for index, chart in enumerate(charts):
        body += [f'<g transform="translate({index * WIDTH} 0)">', *_chart(chart, names), "</g>"]
    return "\n".join([*body, "</svg>\n"])


def _chart(chart: Chart, names: Sequence[str]) -> list[str]:
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM

    def x(value: float) -> float:
        return LEFT + chart.x.place(value) * (right - LEFT)

    def y(value: float) -> float:
        return bottom - chart.y.place(value) * (bottom - TOP)

    lines = [f'<text x="{LEFT}" y="24" font-size="14" font-weight="600">{escape(chart.title)}</text>']
    for tick in _spaced(chart.x.ticks(), x, 34):
        lines.append(f'<path d="M{x(tick):.1f} {TOP}V{bottom}" stroke="#e4e4e4"/>')
        lines.append(f'<text x="{x(tick):.1f}" y="{bottom + 17}" text-anchor="middle">{_number(tick)}</text>')
    for tick in _spaced(chart.y.ticks(), y, 16):
        lines.append(f'<path d="M{LEFT} {y(tick):.1f}H{right}" stroke="#e4e4e4"/>')
        lines.append(f'<text x="{LEFT - 8}" y="{y(tick) + 4:.1f}" text-anchor="end">{_number(tick)}</text>')
    lines.append(f'<path d="M{LEFT} {TOP}V{bottom}H{right}" stroke="#666" fill="none"/>')
    middle = (TOP + bottom) / 2
    lines.append(
        f'<text x="{(LEFT + right) / 2}" y="{bottom + 38}" text-anchor="middle">{escape(chart.x.title)}</text>'
    )
    lines.append(
        f'<text x="16" y="{middle}" text-anchor="middle" transform="rotate(-90 16 {middle})">{escape(chart.y.title)}</text>'
    )
    for series in chart.series:
        lines += _series(series, colour(names.index(series.name)), x, y)
    return lines


def _series(series: Series, fill: str, x: Callable[[float], float], y: Callable[[float], float]) -> list[str]:
    places = [(x(a), y(b)) for a, b in series.points]
    lines: list[str] = []
    if series.line and len(places) > 1:
        path = "L".join(f"{a:.1f} {b:.1f}" for a, b in places)
        lines.append(f'<path d="M{path}" stroke="{fill}" stroke-width="2" fill="none"/>')
    for index, (a, b) in enumerate(places):
        label = series.labels[index] if index < len(series.labels) else ""
        title = f"<title>{escape(label)}</title>" if label else ""
        lines.append(f'<circle cx="{a:.1f}" cy="{b:.1f}" r="4.5" fill="{fill}" fill-opacity="0.8">{title}</circle>')
    return lines


def _spaced(ticks: Sequence[float], place: Callable[[float], float], apart: float) -> list[float]:
    """As many ticks as can be read."""
    kept: list[float] = []
    for tick in ticks:
        if not kept or abs(place(tick) - place(kept[-1])) >= apart:
            kept.append(tick)
    return kept


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:g}"


def axis(title: str, values: Sequence[float], *, log: bool = False) -> Axis:
    """Wide enough for all values; a linear one starts at 0."""
    if log:
        return Axis(title, min(values) / 1.3, max(values) * 1.3, log=True)
    return Axis(title, 0.0, max(*values, 1e-9) * 1.08)
