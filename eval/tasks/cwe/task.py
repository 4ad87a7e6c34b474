"""What `rope_cwe.yaml` names: a numbered list in which some words stand ten times as often as all others."""

from __future__ import annotations

import random
from collections.abc import Sequence

import rope_scaling.eval.lm  # noqa: F401  makes plain `lm_eval --tasks FILE.yaml` know rope-hf
from rope_scaling.eval.tasks.common.cell import Cell
from rope_scaling.eval.tasks.common.generated import CHOICES, Draft, Generated
from rope_scaling.eval.tasks.common.needles import words
from rope_scaling.eval.tasks.common.parameters import check_number

COMMON = 10
TIMES = 10  # as often as any other
LONG = 4096  # tokens from which uncommon words come three times, as in lm-eval's RULER
HEAD = (
    "Below is a numbered list of words. In these words, some appear more often than others. "
    "Memorize the ones that appear most often."
)
QUESTION = (
    "Question: What are the {common} most common words in the above list? "
    "Answer: The top {common} words that appear most often in the list are:"
)


def draft(cell: Cell, common: int) -> Draft:
    """Return a question for the most common words of a list that grows by uncommon ones.

    Args:
        cell: seeds the words and their order.
        common: how many are common, at most 10.
    """
    check_number("common", common, 2)
    if common > COMMON:
        raise ValueError(f"common must be at most {COMMON}, or the answer outgrows its room; got {common}")
    pool = list(dict.fromkeys(word for kind in ("noun", "adjective", "verb") for word in words(kind)))
    cell.rng().shuffle(pool)
    told, rare = pool[:common], pool[common:]
    repeats = repeats_of_rare(cell.length)
    question = QUESTION.format(common=common)

    def render(units: int, padding: str) -> str:
        entries = [*told * (TIMES * repeats), *_rare(rare, units, repeats)]
        cell.rng("order").shuffle(entries)
        listed = " ".join(f"{place}. {word}" for place, word in enumerate(entries, 1))
        return "\n".join((HEAD, listed + padding, question))

    def wrong(units: int) -> list[list[str]]:
        return _wrong(cell.rng("wrong"), told, rare[: max(units // repeats, 2 * common)])

    return Draft(render, told, wrong, least=common)


def repeats_of_rare(length: int) -> int:
    """Return how often an uncommon word comes: more where the words would otherwise run out."""
    return 1 if length < LONG else 3 * -(-length // (16 * LONG))


def _rare(rare: Sequence[str], units: int, repeats: int) -> list[str]:
    """Return `units` entries of uncommon words; the last word may come fewer times."""
    return [rare[place // repeats % len(rare)] for place in range(units)]


def _wrong(rng: random.Random, told: Sequence[str], rare: Sequence[str]) -> list[list[str]]:
    """Return the common words with half of them replaced by uncommon ones."""
    kept = len(told) // 2
    made = []
    for _ in range(4 * CHOICES):
        one = [*rng.sample(list(told), kept), *rng.sample(list(rare), len(told) - kept)]
        made.append(rng.sample(one, len(one)))
    return made


cwe = Generated("rope_cwe", 112, draft, {"common": COMMON}, depths=False)
