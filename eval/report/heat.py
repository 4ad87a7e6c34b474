"""Passkeys found, by length of the text and depth of the key: one heat map for each scheme."""

from __future__ import annotations

import re
from typing import Any

from rope_scaling.eval.bins import short
from rope_scaling.eval.report.charts import Chart
from rope_scaling.eval.report.findings import share
from rope_scaling.eval.report.record import Cell, Keys, Record
from rope_scaling.eval.report.style import axis, layout
from rope_scaling.eval.report.words import count

# cividis (Nuñez, Anderton, Renslow 2018): the same to the colour-blind, and its ends differ in print too
_SCALE = [[0, "#00224E"], [0.25, "#35456C"], [0.5, "#666970"], [0.75, "#A59C74"], [1, "#FEE838"]]
NOTE = (
    "Questions answered right, by the length of the text and the place of the key in it: 0% is the beginning, 100% "
    "the end, next to the question. Hovering a cell shows its 95% interval."
)


def heat_charts(record: Record) -> tuple[Chart, ...]:
    """Return a heat map for each scheme that was asked."""
    return tuple(_heat(number, keys) for number, keys in enumerate(record.keys, 1))


def _heat(number: int, keys: Keys) -> Chart:
    lengths = sorted({cell.length for cell in keys.cells})
    depths = sorted({cell.depth for cell in keys.cells})
    by_place: dict[tuple[float, int], list[Cell]] = {}
    for cell in keys.cells:
        by_place.setdefault((cell.depth, cell.length), []).append(cell)
    grid = [[by_place.get((depth, length)) for length in lengths] for depth in depths]
    shares = [[share(cells) if cells else None for cells in row] for row in grid]
    trace = {
        "type": "heatmap",
        "x": [short(length) for length in lengths],
        "y": [f"{depth:.0%}" for depth in depths],
        "z": [[one and round(one.mean, 4) for one in row] for row in shares],
        "text": [[one and count(one).replace(" of ", "/") for one in row] for row in shares],
        "customdata": [[one and f"{one.low:.0%} to {one.high:.0%}" for one in row] for row in shares],
        "texttemplate": "%{text}",
        "hovertemplate": "%{x} tokens, key at %{y}: %{text} found, 95% %{customdata}<extra></extra>",
        "colorscale": _SCALE,
        "zmin": 0,
        "zmax": 1,
        "showscale": False,
        "xgap": 2,
        "ygap": 2,
    }
    figure = {"data": [trace], "layout": _layout()}
    return Chart(f"passkeys-{number}-{_slug(keys.scheme)}", "Passkeys found", NOTE, figure, keys.scheme)


def _layout() -> dict[str, Any]:
    still = {"fixedrange": True, "type": "category", "showgrid": False, "showline": False, "ticks": ""}
    x = axis("length (tokens)", **still)
    y = axis("depth of the key", autorange="reversed", **still)
    return layout(260, xaxis=x, yaxis=y, margin={"l": 70, "r": 8, "t": 8, "b": 48})


def _slug(scheme: str) -> str:
    """Return a part of a file name."""
    return re.sub(r"[^A-Za-z0-9]+", "-", scheme).strip("-")[:60].lower() or "scheme"
