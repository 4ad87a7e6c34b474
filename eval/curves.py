"""Pictures with a curve for each RoPE: wavelength by pair, mean kernel by distance."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from typing import Any

from rope_scaling.eval.bins import short
from rope_scaling.eval.figures import Curve, Study, distance_windows, mean_kernel, reach, wavelengths
from rope_scaling.eval.sheet import FAINT, INK, LEGEND_ROOM, Sheet, shortened

# Okabe and Ito (2008), told apart by the colour-blind; black is the trained RoPE, yellow is lost on white paper.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
DASHES = ("12px,4px", "3px,3px", "12px,3px,3px,3px", "7px,3px", "14px,3px,3px,3px,3px,3px", "2px,5px", "9px,6px")
SYMBOLS = ("circle", "square", "triangle-up", "diamond", "x", "triangle-down", "star", "cross")
_MARKERS = 8  # on each curve
_HEIGHT, _BELOW = 350, 50  # pixels of a panel, and of what stands under it


def draw_wavelengths(sheet: Sheet, study: Study) -> None:
    """Tokens per turn of every pair, log axis, against the trained and the extended lengths."""
    length = study.trained_length
    pairs, slow = len(study.rope.inv_freq), sum(turns < 1 for turns in reach(study.rope.inv_freq, length))
    sheet.paragraph(f"Wavelength of each pair of dimensions: {study.name}", 16, bold=True)
    sheet.paragraph(
        f"A pair above the line L needs more than the {length:,} trained tokens for one turn: {slow} of {pairs} pairs. "
        "Interpolation lifts a curve; where it lies on the black one, the pair is left as it was trained.",
        13,
        color=FAINT,
    )
    legend = _curve_legend(sheet, study)
    values = [wavelengths(curve.scaled.inv_freq) for curve in study.curves]
    finite = [math.log10(value) for row in values for value in row if value < math.inf]
    high = max(*finite, math.log10(study.unscaled.length)) + 0.25
    axes = sheet.panel(
        _HEIGHT,
        {"title": "pair of dimensions (0 turns fastest)", "range": [-0.5, pairs - 0.5]},
        {
            "title": "wavelength (tokens per turn)",
            "type": "log",
            "range": [min(finite) - 0.15, high],
            "dtick": 1,
            "tickformat": ",",
        },
        below=_BELOW,
    )
    for label, dash, tokens in _lengths(study):
        at = {"x": 0.012, "y": math.log10(tokens), "yanchor": "middle"}
        sheet.mark(axes, y=tokens, dash=dash, label=f"{label} = {tokens:,} tokens", at=at)
    for number, (curve, row) in enumerate(zip(study.curves, values, strict=True)):
        points = list(range(pairs)), [value if value < math.inf else None for value in row]
        _add_curve(sheet, axes, legend, number, curve.name, points, "pair %{x}: %{y:,.4~r} tokens per turn")


def draw_kernel(sheet: Sheet, study: Study) -> None:
    """The mean kernel against distance, log axis, up to the longest length."""
    sheet.paragraph(f"Decay of the mean attention kernel with distance: {study.name}", 16, bold=True)
    sheet.paragraph(
        "Mean over the pairs of cos(θᵢ·Δ), times the attention factor squared: the score that equal content gets Δ "
        "tokens away, averaged over half an octave of distances. The dotted line is what the farthest trained "
        "distances get: below it, a token looks farther away than any did in training.",
        13,
        color=FAINT,
    )
    legend = _curve_legend(sheet, study)
    curves = [_kernel(curve) for curve in study.curves]
    axes = _kernel_panel(sheet, study.unscaled.length, [value for _, row in curves for value in row])
    for label, dash, tokens in _lengths(study):
        at = {"x": math.log10(tokens), "y": 0.985, "xanchor": "center"}
        sheet.mark(axes, x=tokens, dash=dash, label=label, at=at)
    length = study.trained_length
    farthest = mean_kernel(study.unscaled.scaled, math.ceil(length / 2**0.5), length + 1)
    at = {"x": 0.012, "y": farthest, "yanchor": "middle"}
    sheet.mark(axes, y=farthest, dash="1px,3px", label=f"farthest trained distances: {farthest:.2f}", at=at)
    for number, (curve, points) in enumerate(zip(study.curves, curves, strict=True)):
        _add_curve(sheet, axes, legend, number, curve.name, points, "distance %{x:,}: %{y:.3f}")


def _kernel(curve: Curve) -> tuple[list[int], list[float]]:
    """Distances up to the curve's length, and the mean kernel around each."""
    windows = distance_windows(curve.length)
    return [distance for distance, _, _ in windows], [mean_kernel(curve.scaled, *window) for _, *window in windows]


def _kernel_panel(sheet: Sheet, longest: int, values: Sequence[float]) -> tuple[str, str]:
    ticks = [4**power for power in range(math.floor(math.log(longest, 4)) + 1)]
    x = {
        "title": "distance Δ between query and key (tokens, k = 1024)",
        "type": "log",
        "range": [-0.02, math.log10(longest) + 0.1],
        "tickvals": ticks,
        "ticktext": [short(tick) for tick in ticks],
    }
    y = {
        "title": "mean kernel (no unit)",
        "range": [min(0.0, *values) - 0.03, max(values) + 0.06],
        "tickformat": ".1f",
    }
    return sheet.panel(_HEIGHT, x, y, below=_BELOW)


def _add_curve(
    sheet: Sheet,
    axes: tuple[str, str],
    legend: str,
    number: int,
    name: str,
    points: tuple[Sequence[float], Sequence[float | None]],
    hover: str,
) -> None:
    """Add a curve, some markers on it and its entry in the legend: three traces that are switched together."""
    shown = html.escape(shortened(name), quote=False)
    common = {"type": "scatter", "name": shown, "legend": legend, "legendgroup": f"{legend}-{number}"}
    common |= curve_style(number)
    silent = common | {"showlegend": False}
    x, y = points
    sheet.add(silent | {"x": x, "y": y, "mode": "lines", "hovertemplate": f"{hover}<extra>{shown}</extra>"}, axes)
    where = _marked(number, len(x))
    x, y = [x[index] for index in where], [y[index] for index in where]
    sheet.add(silent | {"x": x, "y": y, "mode": "markers", "hoverinfo": "skip"}, axes)
    sheet.add(common | {"x": [None], "y": [None], "mode": "lines+markers"}, axes)


def _marked(number: int, points: int) -> list[int]:
    """Which points carry a marker: others for each of five curves, so that curves on top of each other show theirs."""
    start = (number % 5 + 0.5) / 5
    where = {round((step + start) * points / _MARKERS) for step in range(_MARKERS)}
    return sorted(index for index in where if index < points)


def _curve_legend(sheet: Sheet, study: Study) -> str:
    longest = max(len(shortened(curve.name)) for curve in study.curves)
    return sheet.legend(len(study.curves), next(columns for columns, room in LEGEND_ROOM.items() if longest <= room))


def _lengths(study: Study) -> list[tuple[str, str, int]]:
    """L and every length that is asked for, rising: what to call it, how to dash its line, tokens."""
    trained = study.trained_length
    others = sorted({curve.length for curve in study.curves} - {trained})
    return [("L", "solid", trained), *((f"{tokens / trained:.3g}·L", "5px,4px", tokens) for tokens in others)]


def curve_style(number: int) -> dict[str, Any]:
    """Colour, dashes and marker of a curve; the counts share no divisor, so that no two of 168 look the same."""
    if number == 0:
        black = {"color": INK, "width": 2.6, "dash": "solid"}
        return {"line": black, "marker": {"symbol": "circle-open", "size": 8, "color": INK}}
    index = number - 1
    color = COLORS[index % len(COLORS)]
    return {
        "line": {"color": color, "width": 2.2, "dash": DASHES[index % len(DASHES)]},
        "marker": {"symbol": SYMBOLS[index % len(SYMBOLS)], "size": 8, "color": color},
    }
