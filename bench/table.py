"""Figures with their spread, and the table that shows them beside their goals."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.measure import median

WIDTHS = (37, 20, 20, 20, 20, 20)
COLUMNS = ("direct", "byte pipe", "bare relay", "SDK baseline", "service")


@dataclass
class Row:
    """`cells`: what is shown under the columns. `ok` None: nothing to hold it against."""

    what: str
    goal: str = ""
    cells: dict[str, str] = field(default_factory=dict)
    figure: str = ""
    ok: bool | None = None


def shown(values: Sequence[float], unit: str = "") -> str:
    """The median, and least to most in brackets."""
    if not values:
        return "–"
    middle = figure(median(values)) + (f" {unit}" if unit else "")
    return middle if len(values) == 1 else f"{middle} ({figure(min(values))}–{figure(max(values))})"


def figure(value: float) -> str:
    if math.isinf(value):
        return "never"
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def print_heading() -> None:
    heads = [*("" if not n else COLUMNS[n - 1] for n in range(len(WIDTHS)))]
    print("".join(head.ljust(width) for head, width in zip(heads, WIDTHS, strict=True)) + "goal")


def print_row(row: Row) -> None:
    cells = [row.what, *(row.cells.get(column, "–") for column in COLUMNS)]
    line = "".join(cell.ljust(width - 1) + " " for cell, width in zip(cells, WIDTHS, strict=True))
    print(line + _verdict(row), flush=True)


def _verdict(row: Row) -> str:
    if row.ok is None:
        return row.goal
    return f"{row.goal}: {row.figure}, {'ok' if row.ok else 'MISSED'}"
