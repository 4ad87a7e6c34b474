"""Scores of tasks on the terminal: a table a task, a row a scheme, a column a length."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rope_scaling.eval.bins import short
from rope_scaling.eval.stats import THRESHOLDS, EffectiveLength, effective_length, score_interval

_NOTE = (
    "sees: the largest length up to which the score reaches the threshold (RULER's 85.6 %, 90 % for needles); "
    "a range where 95 % intervals leave it open."
)


def print_tasks(console: Console, tasks: Mapping[str, Any]) -> None:
    """Print every task, and how far each scheme sees."""
    for name, task in tasks.items():
        console.print(_title(name, task), style="italic", highlight=False)
        console.print(_table(task))
    if any(task["threshold"] for task in tasks.values()):
        console.print(_NOTE, highlight=False)


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
