"""How far a mean of a few measurements may be from the true one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy import stats
from torch import Tensor

from rope_scaling.eval.intervals import wilson
from rope_scaling.eval.verdict import LEAST_BLOCKS, block_means


@dataclass(frozen=True)
class Interval:
    """A mean and the ends between which the true one lies in `confidence` of all cases.

    Attributes:
        mean: of the measurements.
        low: the lower end.
        high: the upper end.
        confidence: such as 0.95.
        count: measurements: questions, or blocks of tokens.
    """

    mean: float
    low: float
    high: float
    confidence: float
    count: int


def score_interval(scores: Sequence[float], confidence: float = 0.95) -> Interval:
    """Return Wilson's interval for the mean of scores from 0 to 1, one for each question."""
    if not scores or not all(0 <= score <= 1 for score in scores):
        raise ValueError(f"scores must be numbers from 0 to 1, at least one; got {list(scores)[:5]!r}")
    found = min(math.fsum(scores), len(scores))
    low, high = wilson(found, len(scores), float(stats.norm.ppf((1 + checked_confidence(confidence)) / 2)))
    return Interval(found / len(scores), low, high, confidence, len(scores))


def nll_interval(nll: Tensor, confidence: float = 0.95) -> Interval:
    """Return the interval for the mean nats per token, from means of 64 neighbouring tokens.

    Args:
        nll: of each token, (tokens,) or (texts, tokens); a shorter last block of a text is left out.
        confidence: how often the interval holds the true mean.

    Raises:
        ValueError: Fewer than `LEAST_BLOCKS` blocks.
    """
    return block_interval(block_means(nll), confidence)


def block_interval(means: Tensor, confidence: float = 0.95) -> Interval:
    """Return the interval for the mean nats per token, from means of blocks of neighbouring tokens.

    Args:
        means: of the tokens of each block, (blocks,) or (texts, blocks).
        confidence: how often the interval holds the true mean.

    Raises:
        ValueError: Fewer than `LEAST_BLOCKS` blocks.
    """
    means = means.double().flatten()
    if len(means) < LEAST_BLOCKS:
        raise ValueError(
            f"{len(means)} blocks of tokens tell no interval, {LEAST_BLOCKS} are needed: score more tokens"
        )
    mean, error = means.mean().item(), means.std().item() / math.sqrt(len(means))
    half = error * float(stats.t.ppf((1 + checked_confidence(confidence)) / 2, len(means) - 1))
    return Interval(mean, mean - half, mean + half, confidence, len(means))


def checked_confidence(confidence: float) -> float:
    """Return it, or raise ValueError where it is no share."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be between 0 and 1, such as 0.95, got {confidence!r}")
    return confidence
