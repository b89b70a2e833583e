"""Lines over two logarithmic axes, as SVG. Readable on light and on dark."""

import math
from dataclasses import dataclass
from html import escape

_WIDTH, _HEIGHT, _LEFT, _TOP, _GAP = 400, 260, 56, 34, 92
_COLOURS = ("#2f81f7", "#db6d28", "#8b949e", "#3fb950", "#a371f7")
_GREY = "#8b949e"


@dataclass
class Line:
    name: str
    points: list[tuple[float, float]]


@dataclass
class Panel:
    title: str
    lines: list[Line]


@dataclass
class Axis:
    """From a power of ten to a power of ten, onto `length` pixels."""

    low: int
    high: int
    length: int

    def at(self, value: float) -> float:
        return (math.log10(max(value, 10**self.low)) - self.low) / (self.high - self.low) * self.length

    def marks(self) -> list[float]:
        return [10**power for power in range(self.low, self.high + 1)]


def drawn(panels: list[Panel]) -> str:
    names = list(dict.fromkeys(line.name for panel in panels for line in panel.lines))
    colours = {name: _COLOURS[number % len(_COLOURS)] for number, name in enumerate(names)}
    width, height = len(panels) * (_WIDTH + _GAP), _HEIGHT + _TOP + 40 + 20 * len(names)
    parts = [_panel(panel, colours, _LEFT + number * (_WIDTH + _GAP)) for number, panel in enumerate(panels)]
    parts += [_legend(name, colours[name], _TOP + _HEIGHT + 52 + 20 * row) for row, name in enumerate(names)]
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif"'
    return f'{head} font-size="12" fill="{_GREY}">\n' + "\n".join(parts) + "\n</svg>\n"


def _panel(panel: Panel, colours: dict[str, str], left: int) -> str:
    ys = [y for line in panel.lines for _, y in line.points if math.isfinite(y) and y > 0]
    x_axis = Axis(0, 3, _WIDTH)
    y_axis = Axis(math.floor(math.log10(min(ys))), math.ceil(math.log10(max(ys))), _HEIGHT)
    parts = [f'<text x="{left}" y="18" font-weight="bold">{escape(panel.title)}</text>']
    parts += [_upright(left + x_axis.at(mark), mark) for mark in x_axis.marks()]
    parts += [_level(left, _TOP + _HEIGHT - y_axis.at(mark), mark) for mark in y_axis.marks()]
    parts += [_polyline(line, colours[line.name], left, x_axis, y_axis) for line in panel.lines]
    return "\n".join(parts)


def _upright(x: float, mark: float) -> str:
    low = _TOP + _HEIGHT
    unit = " streams" if mark == 1 else ""
    return (
        f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{low}" stroke="{_GREY}" stroke-opacity="0.3"/>'
        f'<text x="{x:.1f}" y="{low + 16}" text-anchor="middle">{mark:,.0f}{unit}</text>'
    )


def _level(left: int, y: float, mark: float) -> str:
    return (
        f'<line x1="{left}" x2="{left + _WIDTH}" y1="{y:.1f}" y2="{y:.1f}" stroke="{_GREY}" stroke-opacity="0.3"/>'
        f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{mark:,g}</text>'
    )


def _polyline(line: Line, colour: str, left: int, x_axis: Axis, y_axis: Axis) -> str:
    low = _TOP + _HEIGHT
    points = " ".join(f"{left + x_axis.at(x):.1f},{low - y_axis.at(y):.1f}" for x, y in line.points if math.isfinite(y))
    return f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>'


def _legend(name: str, colour: str, y: int) -> str:
    return (
        f'<line x1="{_LEFT}" x2="{_LEFT + 24}" y1="{y - 4}" y2="{y - 4}" stroke="{colour}" stroke-width="2"/>'
        f'<text x="{_LEFT + 32}" y="{y}">{escape(name)}</text>'
    )
