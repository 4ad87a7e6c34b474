"""Right answers by length of the text and depth of what is asked for: one heat map for each scheme."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from rope_scaling.eval.bins import short
from rope_scaling.eval.report.asked import Asked, Task
from rope_scaling.eval.report.charts import Chart, rounded
from rope_scaling.eval.report.findings import share
from rope_scaling.eval.report.numerals import count
from rope_scaling.eval.report.record import Cell, Keys, Record
from rope_scaling.eval.report.style import axis, layout
from rope_scaling.eval.report.tasks import interval
from rope_scaling.eval.stats import Interval

# cividis (Nuñez, Anderton, Renslow 2018): the same to the colour-blind, and its ends differ in print too
_SCALE = [[0, "#00224E"], [0.25, "#35456C"], [0.5, "#666970"], [0.75, "#A59C74"], [1, "#FEE838"]]
NOTE = (
    "Questions answered right, by the length of the text and the place of the key in it: 0% is the beginning, 100% "
    "the end, next to the question. Hovering a cell shows its 95% interval."
)
One = TypeVar("One")


def heat_charts(record: Record) -> tuple[Chart, ...]:
    """Return a heat map for each scheme that was asked for passkeys."""
    return tuple(_passkeys(number, keys) for number, keys in enumerate(record.keys, 1))


def task_heat(task: Task, asked: Asked, number: str) -> Chart:
    """Return the heat map of one scheme's answers to a task; questions without a depth are left out."""
    placed = ((score.depth, score.length, score) for score in asked.scores if score.depth is not None)
    cells = _gathered(placed, lambda scores: interval(asked, scores, task.higher_is_better))
    name = f"task-{number}-{slug(task.name)}-{slug(asked.scheme)}"
    return Chart(name, f"{task.name}, by length and depth", NOTE, _figure(cells), asked.scheme)


def slug(text: str) -> str:
    """Return a part of a file name."""
    return re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-")[:60].lower() or "scheme"


def _passkeys(number: int, keys: Keys) -> Chart:
    placed: Iterable[tuple[float, int, Cell]] = ((cell.depth, cell.length, cell) for cell in keys.cells)
    figure = _figure(_gathered(placed, share))
    return Chart(f"passkeys-{number}-{slug(keys.scheme)}", "Passkeys found", NOTE, figure, keys.scheme)


def _gathered(
    placed: Iterable[tuple[float, int, One]], mean: Callable[[Sequence[One]], Interval]
) -> dict[tuple[float, int], Interval]:
    """Return the mean of what lies at each depth and length."""
    by_place: dict[tuple[float, int], list[One]] = {}
    for depth, length, one in placed:
        by_place.setdefault((depth, length), []).append(one)
    return {place: mean(some) for place, some in by_place.items()}


def _figure(cells: Mapping[tuple[float, int], Interval]) -> dict[str, Any]:
    depths, lengths = sorted({depth for depth, _ in cells}), sorted({length for _, length in cells})
    grid = [[cells.get((depth, length)) for length in lengths] for depth in depths]
    trace = {
        "type": "heatmap",
        "x": [short(length) for length in lengths],
        "y": [f"{depth:.0%}" for depth in depths],
        "z": [[one and rounded(one.mean) for one in row] for row in grid],
        "text": [[one and count(one).replace(" of ", "/") for one in row] for row in grid],
        "customdata": [[one and f"{one.low:.0%} to {one.high:.0%}" for one in row] for row in grid],
        "texttemplate": "%{text}",
        "hovertemplate": "%{x} tokens, key at %{y}: %{text} found, 95% %{customdata}<extra></extra>",
        "colorscale": _SCALE,
        "zmin": 0,
        "zmax": 1,
        "showscale": False,
        "xgap": 2,
        "ygap": 2,
    }
    still = {"fixedrange": True, "type": "category", "showgrid": False, "showline": False, "ticks": ""}
    x = axis("length (tokens)", **still)
    y = axis("depth of the key", autorange="reversed", **still)
    at = [[[depth, length] for length in lengths] for depth in depths]  # the page finds a cell's questions by it
    return {
        "data": [trace],
        "at": at,
        "layout": layout(260, xaxis=x, yaxis=y, margin={"l": 70, "r": 8, "t": 8, "b": 48}),
    }
