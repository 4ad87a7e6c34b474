"""What `rope_recall_code.yaml` names: a function of the standard library, shown among others, is asked for again."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any

import rope_scaling.eval.lm  # noqa: F401  makes plain `lm_eval --tasks FILE.yaml` know rope-hf
from rope_scaling.eval.tasks.code.library import Function, functions
from rope_scaling.eval.tasks.common.cell import Cell
from rope_scaling.eval.tasks.common.generated import CHOICES, Draft, Generated

HEAD = "# Functions of the Python standard library, without their modules. One of them will be asked for again."
QUESTION = "# The function {name} once more, exactly as above:\n{cue}"


def draft(cell: Cell) -> Draft:
    """Return a question for the first line of the body of the function at the cell's depth.

    A unit is a line of the other functions, so the last of them may be cut.
    """
    pool = list(functions())
    cell.rng().shuffle(pool)
    asked, others = pool[0], pool[1:]
    lines, starts = _lines(others)
    depth = cell.depth or 0.0

    def render(units: int, padding: str) -> str:
        shown = [lines[number % len(lines)] for number in range(units)]
        place = _place(starts, len(lines), units, depth)
        text = "\n".join([*shown[:place], asked.source, "", *shown[place:]])
        return f"{HEAD}{padding}\n\n{text}\n\n{QUESTION.format(name=asked.name, cue=asked.cue)}"

    def wrong(units: int) -> list[list[str]]:
        shown = others[: bisect_right(starts, units - 2)]  # the cue and the line of the last one too
        candidates = shown if len(shown) >= CHOICES else others
        return [[one.first] for one in cell.rng("wrong").sample(candidates, min(len(candidates), 8 * CHOICES))]

    return Draft(render, [asked.first], wrong, [asked.source], joint="\n")


def same_line(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
    """Return 1 where the first line that was written is the function's, whatever its indentation."""
    written = results[0].strip().splitlines()
    found = float(bool(written) and written[0].strip() == doc["answer"].strip())
    return {"acc": found, str(doc["length"]): found}


def _lines(shown: Sequence[Function]) -> tuple[list[str], list[int]]:
    """Return the lines of functions, a blank one behind each, and where each begins."""
    lines: list[str] = []
    starts = []
    for function in shown:
        starts.append(len(lines))
        lines += [*function.source.split("\n"), ""]
    return lines, starts


def _place(starts: Sequence[int], cycle: int, units: int, depth: float) -> int:
    """Return the line before which the function stands: between two others, or behind all."""
    wanted = round(depth * units)
    if wanted == units:
        return units
    return wanted - wanted % cycle + starts[bisect_right(starts, wanted % cycle) - 1]


recall_code = Generated("rope_recall_code", 48, draft, delimiter="\n")
