"""What `rope_kv.yaml` names: a JSON object of random pairs, one of which is asked for (arXiv 2307.03172)."""

from __future__ import annotations

from collections.abc import Callable

import rope_scaling.eval.lm  # noqa: F401  makes plain `lm_eval --tasks FILE.yaml` know rope-hf
from rope_scaling.eval.tasks.common.cell import Cell
from rope_scaling.eval.tasks.common.generated import CHOICES, Draft, Generated
from rope_scaling.eval.tasks.common.needles import KINDS, distinct
from rope_scaling.eval.tasks.common.parameters import check_choice

HEAD = "Extract the value corresponding to the specified key in the JSON object below."

Pair = tuple[str, str]


def draft(cell: Cell, needle: str) -> Draft:
    """Return a question for the pair at the cell's depth.

    Args:
        cell: seeds the pairs.
        needle: kind of keys and values: "number", "word" or "uuid".
    """
    check_choice("needle", needle, KINDS)
    make = KINDS[needle]
    (key,) = distinct(make, cell.rng("key"), 1)
    (value,) = distinct(make, cell.rng("value"), 1)
    depth = cell.depth or 0.0

    def pair(number: int) -> Pair:
        return _pair(make, cell, key, number)

    def render(units: int, padding: str) -> str:
        others = [_line(*pair(number)) for number in range(units)]
        place = round(depth * units)
        lines = [*others[:place], _line(key, value), *others[place:]]
        return f'{HEAD}{padding}\n\n{{{_joined(lines)}}}\n\nKey: "{key}"\nCorresponding value:'

    def wrong(units: int) -> list[list[str]]:
        others = cell.rng("wrong").sample(range(units), min(units, 2 * CHOICES))
        return [[pair(number)[1]] for number in others]

    return Draft(render, [value], wrong, [_line(key, value)], least=CHOICES - 1)


def _pair(make: Callable[..., str], cell: Cell, taken: str, number: int) -> Pair:
    rng = cell.rng(f"pair {number}")
    return distinct(make, rng, 1, [taken])[0], make(rng)


def _line(key: str, value: str) -> str:
    return f'"{key}": "{value}"'


def _joined(lines: list[str]) -> str:
    return ",\n ".join(lines)


kv = Generated("rope_kv", 48, draft, {"needle": "uuid"}, delimiter=' "')
