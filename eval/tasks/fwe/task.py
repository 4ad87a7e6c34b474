"""What `rope_fwe.yaml` names: coded words with Zipf's frequencies, of which the three most frequent are asked for."""

from __future__ import annotations

import functools
import random
from collections.abc import Sequence

import rope_scaling.eval.lm  # noqa: F401  makes plain `lm_eval --tasks FILE.yaml` know rope-hf
from rope_scaling.eval.tasks.common.cell import Cell
from rope_scaling.eval.tasks.common.generated import CHOICES, Draft, Generated
from rope_scaling.eval.tasks.common.needles import code_word, distinct

ASKED = 3
NOISE = "..."  # stands in for the most frequent word
LEAST = 80  # words of the text from which on the fourth comes more often than the fifth
ALPHA = 2.0  # of the power law, as in RULER
HEAD = (
    "Read the following coded text and track the frequency of each coded word. "
    "Find the three most frequently appeared coded words."
)
QUESTION = (
    "Question: Do not provide any explanation. Please ignore the dots '....'. "
    "What are the three most frequently appeared words in the above coded text? "
    "Answer: According to the coded text above, the three most frequently appeared words are:"
)


def draft(cell: Cell) -> Draft:
    """Return a question for the three most frequent words; a unit is one word of the text, dots included."""
    rng = cell.rng()
    vocabulary = distinct(code_word, rng, max(cell.length // 50, 2 * CHOICES))
    ranked = vocabulary[:ASKED]

    def render(units: int, padding: str) -> str:
        text = coded(vocabulary, units)
        cell.rng("order").shuffle(text)
        return "\n".join(line for line in (HEAD, " ".join(text) + padding, QUESTION) if line)

    def wrong(units: int) -> list[list[str]]:
        told = sum(times > 0 for times in counts(len(vocabulary), units))
        return _wrong(cell.rng("wrong"), ranked, vocabulary[ASKED : max(told, 2 * CHOICES)])

    return Draft(render, ranked, wrong, least=LEAST)


@functools.lru_cache(maxsize=64)
def counts(vocabulary: int, units: int) -> tuple[int, ...]:
    """Return how often the word of each rank from 2 on comes among `units`; rank 1 are the dots."""
    total = sum(rank**-ALPHA for rank in range(1, vocabulary + 2))
    wanted = [int(units * rank**-ALPHA / total) for rank in range(1, vocabulary + 2)]
    return tuple(wanted[1:])


def coded(vocabulary: Sequence[str], units: int) -> list[str]:
    """Return `units` words in the order of their ranks, dots last."""
    words = [word for word, times in zip(vocabulary, counts(len(vocabulary), units), strict=True) for _ in range(times)]
    return [*words, *[NOISE] * (units - len(words))]


def _wrong(rng: random.Random, ranked: Sequence[str], others: Sequence[str]) -> list[list[str]]:
    """Return the three with one or two of them replaced by rarer words of the text."""
    made = []
    for number in range(4 * CHOICES):
        kept = 1 + number % 2
        made.append([*rng.sample(list(ranked), kept), *rng.sample(list(others), ASKED - kept)])
    return made


fwe = Generated("rope_fwe", 32, draft, depths=False)
