"""What `rope_vt.yaml` names: chains of variables (RULER's variable tracking, arXiv 2404.06654)."""

from __future__ import annotations

import random
from collections.abc import Sequence

import rope_scaling.eval.lm  # noqa: F401  makes plain `lm_eval --tasks FILE.yaml` know rope-hf
from rope_scaling.eval.tasks.common.cell import Cell
from rope_scaling.eval.tasks.common.generated import CHOICES, Draft, Generated
from rope_scaling.eval.tasks.common.haystack import noise
from rope_scaling.eval.tasks.common.needles import distinct, number, variable
from rope_scaling.eval.tasks.common.parameters import check_number

CHAINS, HOPS = 2, 4
HEAD = "Memorize and track the chain(s) of variable assignment hidden in the following text."
QUESTION = (
    "Question: Find all variables that are assigned the value {value} in the text above. "
    "Answer: According to the chain(s) of variable assignment in the text above, "
    "{count} variables are assigned the value {value}, they are:"
)


def draft(cell: Cell, chains: int, hops: int) -> Draft:
    """Return a question for all variables of the first chain, whose links stand in order at random places.

    Args:
        cell: seeds names, values and places.
        chains: each with a value of its own.
        hops: variables of a chain that take the value of the one before.
    """
    check_number("chains", chains, 1)
    check_number("hops", hops, 1)
    rng = cell.rng()
    values = distinct(number, rng, chains)
    names = distinct(variable, rng, chains * (hops + 1))
    tracks = [names[start::chains] for start in range(chains)]
    links = [link for value, track in zip(values, tracks, strict=True) for link in _links(rng, value, track)]
    question = QUESTION.format(value=values[0], count=hops + 1)
    stack = noise()

    def render(units: int, padding: str) -> str:
        return "\n".join((HEAD, stack.lay(units, links, padding), question))

    def wrong(units: int) -> list[list[str]]:
        return _wrong(cell.rng("wrong"), tracks)

    return Draft(render, tracks[0], wrong, [told for _, told in links if told.startswith(_of(tracks[0]))])


def _links(rng: random.Random, value: str, track: Sequence[str]) -> list[tuple[float, str]]:
    """Return each assignment of a chain with its depth."""
    sources = [value, *(f"VAR {name}" for name in track)]
    told = [f"VAR {name} = {source}." for name, source in zip(track, sources, strict=False)]
    return list(zip(sorted(rng.random() for _ in told), told, strict=True))


def _of(track: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"VAR {name} = " for name in track)


def _wrong(rng: random.Random, tracks: Sequence[Sequence[str]]) -> list[list[str]]:
    """Return the variable that is given the value itself, and others of other chains (none told: new ones)."""
    first, *rest = tracks[0]
    others = [name for track in tracks[1:] for name in track] or distinct(variable, rng, 4 * len(rest), tracks[0])
    pool = others if len(others) > len(rest) else [*others, *distinct(variable, rng, len(rest) + 1, others)]
    return [[first, *rng.sample(pool, len(rest))] for _ in range(4 * CHOICES)]


vt = Generated("rope_vt", 48, draft, {"chains": CHAINS, "hops": HOPS}, depths=False)
