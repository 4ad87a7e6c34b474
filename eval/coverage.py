"""The picture of angles never trained: what each pair has seen, and where each scheme leads it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rope_scaling.eval.bins import short
from rope_scaling.eval.figures import Study, beyond, reach
from rope_scaling.eval.sheet import FAINT, INK, LEFT, RIGHT, WIDTH, Sheet, shortened

SEEN, NEW = "#C4C4C4", "#D55E00"
_HATCH = {"shape": "/", "fgcolor": "white", "size": 5, "solidity": 0.25, "fillmode": "overlay"}


def draw_angles(sheet: Sheet, study: Study) -> None:
    """For every pair the angles seen in training, and those past them that each scheme leads to."""
    length, pairs = study.trained_length, len(study.rope.inv_freq)
    seen = reach(study.rope.inv_freq, length)
    full = sum(turns == 1 for turns in seen)
    sheet.paragraph(f"Which pairs turn past their trained angles: {study.name}", 16, bold=True)
    rest = f"The other {pairs - full} have seen only the grey part; what is hatched they meet for the first time."
    sheet.paragraph(
        f"{full} of {pairs} pairs go all the way round within the {length:,} trained tokens and have seen every angle. "
        + (rest if full < pairs else ""),
        13,
        color=FAINT,
    )
    legend = sheet.legend(3, 3)
    top = sheet.cursor
    for number, curve in enumerate(study.curves):
        last = number == len(study.curves) - 1
        new = beyond(study, curve)
        told = f"{shortened(curve.name)} at {short(curve.length)} tokens: {_verdict(new)}"
        sheet.cursor += 2
        sheet.paragraph(told, 13, bold=any(new), left=LEFT)
        sheet.cursor += 2
        axes = sheet.panel(
            96,
            {
                "title": "pair of dimensions (0 turns fastest)" if last else "",
                "range": [-0.5, pairs - 0.5],
                "showticklabels": last,
                "showgrid": False,
            },
            {"range": [0, 1.2], "tickvals": [0, 0.25, 0.5, 0.75, 1], "ticktext": ["0", "¼", "½", "¾", "1"]},
            below=50 if last else 10,
        )
        ticks = _ticks(seen, reach(curve.scaled.inv_freq, curve.length))
        for trace in (*_bars(seen, new, length), ticks):
            sheet.add(trace | {"legend": legend, "showlegend": number == 0 and "name" in trace}, axes)
    sheet.side("largest angle (turns; 1 = all angles)", top, sheet.cursor - 50)


def _bars(seen: Sequence[float], new: Sequence[float], length: int) -> Iterator[dict[str, Any]]:
    """Yield what training has shown each pair and, on top, what it has not; a thin slice has a mark to be seen by."""
    past = [pair for pair, turns in enumerate(new) if turns > 0]
    yield {
        "type": "bar",
        "x": list(range(len(seen))),
        "y": seen,
        "width": 0.8,
        "name": f"seen in training ({short(length)} tokens)",
        "marker": {"color": SEEN},
        "hovertemplate": "pair %{x}: seen up to %{y:.3f} turns<extra></extra>",
    }
    yield {
        "type": "bar",
        "x": past,
        "y": [new[pair] for pair in past],
        "base": [seen[pair] for pair in past],
        "width": 0.8,
        "name": "▼ never seen, and met now",
        "marker": {"color": NEW, "pattern": _HATCH},
        "hoverinfo": "skip",
    }
    yield {
        "type": "scatter",
        "mode": "markers",
        "x": past,
        "y": [1.11] * len(past),
        "marker": {"symbol": "triangle-down", "size": 8 if len(seen) <= 64 else 4, "color": NEW},
        "hoverinfo": "skip",
    }


def _ticks(seen: Sequence[float], reached: Sequence[float]) -> dict[str, Any]:
    """Return a dash where each pair gets to, but for those that go round before and after."""
    partial = [pair for pair, angles in enumerate(zip(seen, reached, strict=True)) if min(angles) < 1]
    wide = 0.57 * (WIDTH - LEFT - RIGHT) / len(seen)  # Plotly draws this symbol 1.4 times as wide as its size
    return {
        "type": "scatter",
        "mode": "markers",
        "x": partial,
        "y": [reached[pair] for pair in partial],
        "name": "largest angle reached",
        "marker": {"symbol": "line-ew", "size": wide, "color": INK, "line": {"color": INK, "width": 2}},
        "cliponaxis": False,
        "hovertemplate": "pair %{x}: reaches %{y:.3f} turns<extra></extra>",
    }


def _verdict(new: Sequence[float]) -> str:
    count = sum(turns > 0 for turns in new)
    if not count:
        return "no pair turns past its trained angles"
    return f"{count} of {len(new)} pairs turn past their trained angles"
