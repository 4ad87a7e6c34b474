"""Scores of tasks on the terminal: a table a task, a row a scheme, a column a length."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rope_scaling.eval.bins import short
from rope_scaling.eval.stats import (
    THRESHOLDS,
    EffectiveLength,
    averaged,
    effective_length,
    mean_interval,
    score_interval,
)

_NOTE = (
    "sees: the largest length up to which the score reaches the threshold (RULER's 85.6 %, 90 % for needles); "
    "a range where 95 % intervals leave it open."
)


def print_tasks(console: Console, tasks: Mapping[str, Any]) -> None:
    """Print every task, and how far each scheme sees."""
    for name, task in tasks.items():
        console.print(_title(name, task), style="italic", highlight=False)
        console.print(_table(task))
    scored = [task for task in tasks.values() if task["higher_is_better"]]
    together = averaged(scored, lambda task: task["chance"])
    if together:
        console.print(
            f"mean of {len(together)} tasks, each counting the same: % right (95 % interval)",
            style="italic",
            highlight=False,
        )
        console.print(_means(together))
    if any(task["threshold"] for task in tasks.values()):
        console.print(_NOTE, highlight=False)


def _means(tasks: Sequence[Any]) -> Table:
    """Schemes that were asked all of the tasks, at the lengths that all of these were asked."""
    each = [{name: _by_length(one["answers"]) for name, one in task["schemes"].items()} for task in tasks]
    schemes = [name for name in each[0] if all(name in one for one in each)]
    lengths = sorted(set.intersection(*(set(one[name]) for one in each for name in schemes))) if schemes else []
    table = Table("scheme", *map(short, lengths), "sees")
    for name in schemes if lengths else ():
        measured = {at: mean_interval([score_interval(one[name][at]) for one in each]) for at in lengths}
        cells = [f"{100 * one.mean:.0f} ({100 * one.low:.0f}-{100 * one.high:.0f})" for one in measured.values()]
        table.add_row(escape(name), *cells, _far(effective_length(measured, THRESHOLDS["ruler"])))
    return table


def sees(task: Mapping[str, Any], answers: Iterable[Mapping[str, Any]]) -> EffectiveLength | None:
    """Return how far a scheme's scores reach the task's threshold, None where it has none."""
    if task["threshold"] is None:
        return None
    measured = {length: score_interval(scores) for length, scores in _by_length(answers).items()}
    return effective_length(measured, THRESHOLDS[task["threshold"]])


def _title(name: str, task: Mapping[str, Any]) -> str:
    if not task["higher_is_better"]:
        return f"{name}: nats per token (lower is better)"
    chance = f"; {100 * task['chance']:.0f} % by chance" if task["chance"] else ""
    return f"{name}: % right (of so many questions{chance})"


def _table(task: Mapping[str, Any]) -> Table:
    table = Table()
    table.add_column("scheme", overflow="fold")
    lengths = sorted({cell["length"] for one in task["schemes"].values() for cell in one["cells"]})
    for length in lengths:
        table.add_column(short(length), justify="right", no_wrap=True)
    if task["threshold"]:
        table.add_column("sees", justify="right", no_wrap=True)
    for scheme, one in task["schemes"].items():
        shown = [_cell(task, one, length) for length in lengths]
        far = sees(task, one["answers"])
        table.add_row(escape(scheme), *shown, *([] if far is None else [_far(far)]))
    return table


def _cell(task: Mapping[str, Any], one: Mapping[str, Any], length: int) -> str:
    own = [cell for cell in one["cells"] if cell["length"] == length]
    if not own:
        return "-"
    if not task["higher_is_better"]:
        return f"{own[0]['score']:.3f}"
    asked = sum(cell["samples"] for cell in own)
    return f"{100 * sum(cell['score'] * cell['samples'] for cell in own) / asked:.0f} ({asked})"


def _far(far: EffectiveLength) -> str:
    if far.decided:
        return short(far.at_least) if far.at_least else "-"
    return f"{short(far.at_least)} to {short(far.at_most)}" if far.at_least else f"up to {short(far.at_most)}?"


def _by_length(answers: Iterable[Mapping[str, Any]]) -> dict[int, list[float]]:
    found: dict[int, list[float]] = {}
    for answer in answers:
        found.setdefault(answer["length"], []).append(answer["score"])
    return found
