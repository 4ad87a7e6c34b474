"""Two schemes on the same questions or tokens: differences, which vary far less than either score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats
from torch import Tensor

from rope_scaling.eval.stats.intervals import checked_confidence
from rope_scaling.eval.verdict import LEAST_BLOCKS, block_means

RESAMPLES = 9999
LEAST_PAIRS = 8
_AT_ONCE = 2**22  # numbers: 32 MiB, whatever the text's length


@dataclass(frozen=True)
class PairedDifference:
    """First minus second.

    Attributes:
        mean: of the differences.
        low: the lower end of its interval.
        high: the upper end.
        p_value: of both being equal, two-sided.
        confidence: how often the interval holds the true mean.
        count: pairs: questions, or blocks of tokens.
    """

    mean: float
    low: float
    high: float
    p_value: float
    confidence: float
    count: int


def paired_scores(first: Sequence[float], second: Sequence[float], confidence: float = 0.95) -> PairedDifference:
    """Compare scores from 0 to 1 on the same questions by a bootstrap over the questions.

    For answers that are only right or wrong `mcnemar` is exact.

    Raises:
        ValueError: Fewer than `LEAST_PAIRS` questions.
    """
    refuse_unpaired(first, second)
    if len(first) < LEAST_PAIRS:
        raise ValueError(f"{len(first)} questions tell nothing, {LEAST_PAIRS} are needed: ask more")
    return _compared(np.asarray(first, dtype=float) - np.asarray(second, dtype=float), confidence)


def paired_nll(first: Tensor, second: Tensor, confidence: float = 0.95) -> PairedDifference:
    """Compare nats per token on the same tokens by a bootstrap over blocks of 64 tokens.

    Args:
        first: nats of each token under one scheme, (tokens,) or (texts, tokens).
        second: the same of the other.
        confidence: of the interval.

    Raises:
        ValueError: Other shapes, or fewer than `LEAST_BLOCKS` blocks.
    """
    if first.shape != second.shape:
        raise ValueError(
            f"paired scores must be of the same tokens, got shapes {tuple(first.shape)} and {tuple(second.shape)}"
        )
    return paired_blocks(block_means(first), block_means(second), confidence)


def paired_blocks(first: Tensor, second: Tensor, confidence: float = 0.95) -> PairedDifference:
    """Compare nats per token on the same tokens, given as means of the same blocks of neighbouring tokens.

    Args:
        first: mean nats per token of each block under one scheme, (blocks,) or (texts, blocks).
        second: the same of the other.
        confidence: of the interval.

    Raises:
        ValueError: Other shapes, or fewer than `LEAST_BLOCKS` blocks.
    """
    if first.shape != second.shape:
        raise ValueError(
            f"paired blocks must be of the same tokens, got shapes {tuple(first.shape)} and {tuple(second.shape)}"
        )
    if first.numel() < LEAST_BLOCKS:
        raise ValueError(f"{first.numel()} blocks of tokens tell nothing, {LEAST_BLOCKS} are needed: score more")
    return _compared((first.double() - second.double()).flatten().numpy(), confidence)


def _compared(differences: Any, confidence: float) -> PairedDifference:
    """Return the mean with a studentized bootstrap interval, and the p-value of flipped signs.

    Both draw from a generator of their own, so equal scores always give equal numbers.
    """
    checked_confidence(confidence)
    mean, count = float(differences.mean()), len(differences)
    if count < 2 or np.all(differences == differences[0]):  # of all flips, only none and all are as far from 0
        return PairedDifference(mean, mean, mean, 2.0 ** (1 - count) if mean else 1.0, confidence, count)
    low, high = _bootstrap_t(differences, confidence)
    flipped = stats.permutation_test(
        (differences,),
        np.mean,
        permutation_type="samples",
        vectorized=True,
        n_resamples=RESAMPLES,
        batch=max(_AT_ONCE // count, 1),
        rng=np.random.default_rng(0),
    )
    return PairedDifference(mean, low, high, float(flipped.pvalue), confidence, count)


def _bootstrap_t(differences: Any, confidence: float) -> tuple[float, float]:
    """Return the ends of Efron's bootstrap-t interval, which few blocks make too wide rather than too narrow."""
    count = len(differences)
    mean, error = differences.mean(), differences.std(ddof=1) / np.sqrt(count)
    rng = np.random.default_rng(0)
    ratios = []
    for size in _batches(count):
        drawn = differences[rng.integers(0, count, size=(size, count))]  # (resamples, count)
        errors = drawn.std(axis=1, ddof=1) / np.sqrt(count)
        told = errors > 0  # a resample of one value alone says nothing of the spread
        ratios.append((drawn.mean(axis=1)[told] - mean) / errors[told])
    low, high = np.quantile(np.concatenate(ratios), [(1 + confidence) / 2, (1 - confidence) / 2])
    return float(mean - low * error), float(mean - high * error)


def _batches(count: int) -> list[int]:
    """Return how many resamples of `count` values to draw at once, in turn."""
    size = max(_AT_ONCE // count, 1)
    return [min(size, RESAMPLES - done) for done in range(0, RESAMPLES, size)]


def refuse_unpaired(first: Sequence[Any], second: Sequence[Any]) -> None:
    """Raise ValueError where two schemes' answers cannot be to the same questions."""
    if len(first) != len(second) or len(first) == 0:
        raise ValueError(f"paired answers must be to the same questions, got {len(first)} and {len(second)}")
