"""Two sets of answers to one task, paired question by question."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import torch

from rope_scaling.eval.report.asked import Answer
from rope_scaling.eval.stats import PairedDifference, paired_answers, paired_blocks
from rope_scaling.eval.verdict import LEAST_BLOCKS

LEVEL = 0.05
Pair = tuple[Answer, Answer]
Outcome = Literal["better", "worse", "undecided"]


def pair(first: Sequence[Answer], second: Sequence[Answer]) -> list[Pair]:
    """Return the answers to the questions that both were asked, in the first's order."""
    others = {answer.key: answer for answer in second}
    return [(answer, others[answer.key]) for answer in first if answer.key in others]


def by_blocks(pairs: Sequence[Pair]) -> bool:
    """Whether answers in nats are compared by blocks of tokens: where all of both sides tell them."""
    return all(one.blocks and len(one.blocks) == len(other.blocks) for one, other in pairs)


def blocks(answers: Iterable[Answer]) -> list[float]:
    """Return the nats per token of all blocks of some texts."""
    return [value for answer in answers for value in answer.blocks]


def difference(pairs: Sequence[Pair], higher_is_better: bool) -> PairedDifference | None:
    """Return first minus second: shares, or nats per token; None where the pairs are too few to tell anything."""
    if not pairs:
        return None
    first, second = [one.score for one, _ in pairs], [other.score for _, other in pairs]
    if not higher_is_better:
        return _nats(pairs, first, second)
    if len(pairs) < LEAST_BLOCKS and any(score not in (0, 1) for score in (*first, *second)):
        return None
    return paired_answers(first, second)


def outcome(difference: PairedDifference, p_value: float, higher_is_better: bool) -> Outcome:
    """Return what the first is against the second, given a p-value that may have been corrected for others."""
    if p_value >= LEVEL or difference.low <= 0 <= difference.high:
        return "undecided"
    return "better" if (difference.low > 0) == higher_is_better else "worse"


def _nats(pairs: Sequence[Pair], first: Sequence[float], second: Sequence[float]) -> PairedDifference | None:
    """Compare by blocks of tokens where every answer tells them, else by texts."""
    if by_blocks(pairs):
        first, second = blocks(one for one, _ in pairs), blocks(other for _, other in pairs)
    if len(first) < LEAST_BLOCKS:
        return None
    return paired_blocks(torch.tensor(first, dtype=torch.float64), torch.tensor(second, dtype=torch.float64))
