"""Needle prompts in RULER's wording (arXiv 2404.06654, appendix B), one or several keys, values and queries."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rope_scaling.eval.tasks.common.cell import Cell
from rope_scaling.eval.tasks.common.generated import CHOICES, Draft
from rope_scaling.eval.tasks.common.haystack import Haystack, noise, running_text
from rope_scaling.eval.tasks.common.needles import KINDS, distinct
from rope_scaling.eval.tasks.common.parameters import check_choice

HAYSTACKS = ("noise", "text", "needles")
HEAD = (
    "{some} special magic {values} hidden within the following text. Make sure to memorize it. "
    "I will quiz you about the {noun} afterwards."
)
NEEDLE = "One of the special magic {noun}s for {key} is: {value}."
ONE = (
    "What is the special magic {noun} for {keys} mentioned in the provided text? "
    "The special magic {noun} for {keys} mentioned in the provided text is"
)
MANY = (
    "What are all the special magic {noun}s for {keys} mentioned in the provided text? "
    "The special magic {noun}s for {keys} mentioned in the provided text are"
)


@dataclass(frozen=True)
class Shape:
    """How many of everything.

    Attributes:
        keys: told, each with its own values.
        values: told for each key.
        queries: keys that are asked for.
        key: kind of the keys, as in `KINDS`.
    """

    keys: int = 1
    values: int = 1
    queries: int = 1
    key: str = "word"


def niah(cell: Cell, shape: Shape, haystack: str, needle: str, text: str | None = None) -> Draft:
    """Return a question about needles.

    With one answer, its needle stands at the cell's depth; all others stand anywhere.

    Args:
        cell: seeds keys, values, places and the haystack's beginning.
        shape: how many of everything.
        haystack: "noise", "text", or "needles" (of other keys).
        needle: kind of the values: "number", "word" or "uuid".
        text: a file for the haystack "text", which alone reads it; None is the text that the package carries.
    """
    check_choice("haystack", haystack, HAYSTACKS)
    check_choice("needle", needle, KINDS)
    rng = cell.rng()
    keys = distinct(KINDS[shape.key], rng, shape.keys)
    values = distinct(KINDS[needle], rng, shape.keys * shape.values)
    told = [(key, values[place :: shape.keys]) for place, key in enumerate(keys)]
    needles = [(rng.random(), _needle(needle, key, value)) for key, own in told for value in own]
    if cell.depth is not None:
        needles[0] = (cell.depth, needles[0][1])
    asked = told[: shape.queries]
    answers = [value for _, own in asked for value in own]
    other = functools.partial(_other, cell, needle, shape.key, keys)
    stack = _haystack(cell, haystack, needle, text, other)
    head, question = _frame(needle, [key for key, _ in asked], len(answers))

    def render(units: int, padding: str) -> str:
        return "\n".join(line for line in (head, stack.lay(units, needles, padding), question) if line)

    wrong = functools.partial(_wrong, cell, needle, values, answers, shape, other if haystack == "needles" else None)
    least = CHOICES - 1 if haystack == "needles" else 0  # or the wrong choices would be new to the text
    return Draft(render, answers, wrong, [sentence for _, sentence in needles[: len(answers)]], least=least)


def _needle(kind: str, key: str, value: str) -> str:
    return NEEDLE.format(noun=kind, key=key, value=value)


def _frame(kind: str, keys: Sequence[str], answers: int) -> tuple[str, str]:
    """Return what stands before and after the haystack."""
    named = f"{', '.join(keys[:-1])}, and {keys[-1]}" if len(keys) > 1 else keys[0]
    single = answers == 1
    some, values, noun = ("A", f"{kind} is", kind) if single else ("Some", f"{kind}s are", f"{kind}s")
    head = HEAD.format(some=some, values=values, noun=noun)
    return head, (ONE if single else MANY).format(noun=kind, keys=named)


Other = Callable[[int], tuple[str, str]]
"""The key and value of the needle of a number in a haystack of needles."""


def _haystack(cell: Cell, name: str, needle: str, text: str | None, other: Other) -> Haystack:
    if name == "noise":
        return noise()
    if name == "text":
        return running_text(text, cell.rng("haystack"))
    return Haystack(lambda number: _needle(needle, *other(number)), separator="\n")


def _other(cell: Cell, needle: str, key: str, taken: Sequence[str], number: int) -> tuple[str, str]:
    rng = cell.rng(f"needle {number}")
    return distinct(KINDS[key], rng, 1, taken)[0], KINDS[needle](rng)


def _wrong(
    cell: Cell,
    needle: str,
    values: Sequence[str],
    answers: Sequence[str],
    shape: Shape,
    other: Other | None,
    units: int,
) -> list[list[str]]:
    """Return answers that only binding the right value to the right key tells from the right one.

    Those are other needles' values and, for several queries, the values in another order. Where the text
    holds no other, half of the values or more are ones that it does not hold.
    """
    rng = cell.rng("wrong")
    if shape.queries > 1:
        return [_disordered(rng, answers) for _ in range(4 * CHOICES)]
    told = [value for value in values if value not in answers]
    if other is not None:
        told += [other(number)[1] for number in rng.sample(range(units), min(units, 2 * CHOICES))]
    if len(answers) == 1 and len(set(told) - set(answers)) >= CHOICES - 1:
        return [[value] for value in told]
    fresh = distinct(KINDS[needle], rng, 4 * CHOICES * len(answers), taken=values)
    half = len(answers) // 2
    starts = range(0, len(fresh), len(answers))
    return [[*rng.sample(list(answers), half), *fresh[at : at + len(answers) - half]] for at in starts]


def _disordered(rng: random.Random, answers: Sequence[str]) -> list[str]:
    while (order := rng.sample(list(answers), len(answers))) == list(answers):
        pass
    return order
