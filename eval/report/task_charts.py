"""Each task as pictures: scores by length with their intervals, and by length and depth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from rope_scaling.eval.bins import short
from rope_scaling.eval.report.asked import Task
from rope_scaling.eval.report.charts import Chart, escaped, rounded, rule
from rope_scaling.eval.report.heat import slug, task_heat
from rope_scaling.eval.report.record import Record
from rope_scaling.eval.report.style import GREY, axis, faint, layout, line_style, numbers
from rope_scaling.eval.report.tasks import Held, TaskFinding
from rope_scaling.eval.sheet import shortened
from rope_scaling.eval.stats import THRESHOLDS

_HEIGHT = 320
_LEAST = 3
"""Lengths that make a line."""


def charts_of(record: Record, findings: Sequence[TaskFinding]) -> tuple[tuple[Chart, ...], ...]:
    """Return the pictures of every task."""
    return tuple(task_charts(record, finding, number) for number, finding in enumerate(findings, 1))


def task_charts(record: Record, finding: TaskFinding, number: int) -> tuple[Chart, ...]:
    """Return the pictures of one task: by length and, where questions have a depth, a heat map for each scheme."""
    charts = [_by_length(record, finding, number)]
    task = finding.task
    if task.has_depth and task.higher_is_better:
        charts += [task_heat(task, asked, f"{number}-{place}") for place, asked in enumerate(task.schemes, 1)]
    return tuple(charts)


def _by_length(record: Record, finding: TaskFinding, number: int) -> Chart:
    task, places = finding.task, numbers(record)
    # few lengths, or questions without a place, are points beside each other: bands would lie over one another
    draw = _line if len(task.lengths) >= _LEAST and (task.has_depth or not task.higher_is_better) else _bars
    traces: list[dict[str, Any]] = []
    for place, held in enumerate(finding.schemes):
        traces += draw(task, held, places[held.scheme], place - (len(finding.schemes) - 1) / 2)
    figure = {"data": traces, "layout": _layout(record, task)}
    return Chart(f"task-{number}-{slug(task.name)}", f"{task.name}, by length", _note(task), figure)


def _line(task: Task, held: Held, number: int, _: float) -> list[dict[str, Any]]:
    """Return a scheme's line with a band around it."""
    style = line_style(held.scheme, number)
    known = {length: one for length, one in held.by_length.items() if math.isfinite(one.low)}
    line = {
        **_common(task, held, number),
        "type": "scatter",
        "mode": "lines+markers",
        "x": list(held.by_length),
        "y": [rounded(one.mean) for one in held.by_length.values()],
        **style,
    }
    if len(known) < 2:  # a band has a width
        return [line | {"error_y": _error(held, style["line"]["color"])}]
    ends = [(length, one.low, one.high) for length, one in known.items()]
    band = {
        "type": "scatter",
        "mode": "lines",
        "name": line["name"],
        "meta": number,
        "legendgroup": str(number),
        "showlegend": False,
        "x": [at for at, _, _ in ends] + [at for at, _, _ in reversed(ends)],
        "y": [rounded(low) for _, low, _ in ends] + [rounded(high) for _, _, high in reversed(ends)],
        "fill": "toself",
        "fillcolor": faint(style["line"]["color"]),
        "line": {"width": 0},
        "hoverinfo": "skip",
    }
    return [band, line]


def _bars(task: Task, held: Held, number: int, aside: float) -> list[dict[str, Any]]:
    """Return a scheme's points with their intervals, beside the other schemes' at the same length."""
    style = line_style(held.scheme, number)
    step = 2 ** (aside * 0.09)  # the axis is logarithmic
    return [
        {
            **_common(task, held, number),
            "type": "scatter",
            "mode": "markers",
            "x": [length * step for length in held.by_length],
            "y": [rounded(one.mean) for one in held.by_length.values()],
            "error_y": _error(held, style["line"]["color"]),
            "marker": style["marker"] | {"size": 9},
        }
    ]


def _common(task: Task, held: Held, number: int) -> dict[str, Any]:
    shown = "%{y:.0%}" if task.higher_is_better else "%{y:.3f} nats a token"
    told = [[short(length), *_hover(task, held, length)] for length in held.by_length]
    return {
        "name": escaped(shortened(held.scheme)),
        "meta": number,
        "legendgroup": str(number),
        "customdata": told,
        "hovertemplate": f"%{{customdata[0]}} tokens: {shown}%{{customdata[1]}}<extra>%{{fullData.name}}</extra>",
    }


def _hover(task: Task, held: Held, length: int) -> list[str]:
    one = held.by_length[length]
    if not math.isfinite(one.low):
        return [f" of {one.count}"]
    ends = f"{one.low:.0%} to {one.high:.0%}" if task.higher_is_better else f"{one.low:.3f} to {one.high:.3f}"
    return [f" of {one.count}, 95% {ends}"]


def _error(held: Held, color: str) -> dict[str, Any]:
    each = held.by_length.values()
    up = [rounded(one.high - one.mean) if math.isfinite(one.high) else 0 for one in each]
    down = [rounded(one.mean - one.low) if math.isfinite(one.low) else 0 for one in each]
    return {"type": "data", "array": up, "arrayminus": down, "color": color, "thickness": 1.5, "width": 5}


def _layout(record: Record, task: Task) -> dict[str, Any]:
    lengths = task.lengths
    margin = 0.25 if len(lengths) > 1 else 0.6  # octaves
    ends = [math.log10(lengths[0]) - margin * math.log10(2), math.log10(lengths[-1]) + margin * math.log10(2)]
    x = axis("length (tokens, k = 1024)", type="log", range=ends, tickvals=lengths)
    x["ticktext"] = [short(length) for length in lengths]
    y = axis("nats a token") if not task.higher_is_better else axis("score", range=[-0.03, 1.05], tickformat=".0%")
    drawn = layout(_HEIGHT, xaxis=x, yaxis=y, margin={"l": 60, "r": 16, "t": 24, "b": 50}, shapes=[], annotations=[])
    if 10 ** ends[0] < record.length < 10 ** ends[1]:
        drawn["shapes"].append(rule("x", record.length, "solid", 1.2))
        drawn["annotations"].append(
            _label(f"L = {short(record.length)}", x=math.log10(record.length), y=1, yref="paper", yanchor="bottom")
        )
    for name, at in _levels(task):
        drawn["shapes"].append(rule("y", at, "2px,3px" if name == "chance" else "10px,4px", 1.5))
        drawn["annotations"].append(
            _label(f"{name} {at:.1%}".replace(".0%", "%"), x=1, xref="paper", y=at, xanchor="right", yanchor="bottom")
        )
    return drawn


def _levels(task: Task) -> list[tuple[str, float]]:
    levels = [("holds from", THRESHOLDS[task.threshold])] if task.threshold else []
    return levels + ([("chance", task.chance)] if task.chance else [])


def _label(text: str, **place: Any) -> dict[str, Any]:
    return {"text": text, "showarrow": False, "font": {"size": 12, "color": GREY}, **place}


def _note(task: Task) -> str:
    if not task.higher_is_better:
        return "Mean nats per token, lower is better, with 95% intervals where there is enough text for one."
    note = "Mean score, with Wilson’s 95% intervals"
    if task.threshold:
        note += (
            f"; a scheme holds a length where it reaches {THRESHOLDS[task.threshold]:.1%}".replace(".0%", "%")
            + " there and at every shorter one"
        )
    return f"{note}."
