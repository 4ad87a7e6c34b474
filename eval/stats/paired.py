"""Two schemes on the same questions or tokens: differences, which vary far less than either score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats
from torch import Tensor

from rope_scaling.eval.stats.intervals import checked_confidence
from rope_scaling.eval.verdict import BLOCK, LEAST_BLOCKS, block_means

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


def mcnemar(first: Sequence[bool], second: Sequence[bool]) -> float:
    """Return the exact two-sided p-value of two schemes being right equally often (McNemar 1947).

    Only questions that one got right and the other did not tell anything: under equality each of those is a coin.

    Args:
        first: whether each question was answered right by one scheme.
        second: the same of the other, on the same questions.
    """
    _refuse_unpaired(first, second)
    pairs = list(zip(_right(first), _right(second), strict=True))
    only_first, only_second = pairs.count((True, False)), pairs.count((False, True))
    if only_first + only_second == 0:
        return 1.0
    return float(stats.binomtest(only_first, only_first + only_second).pvalue)


def paired_scores(first: Sequence[float], second: Sequence[float], confidence: float = 0.95) -> PairedDifference:
    """Compare scores from 0 to 1 on the same questions by a bootstrap over the questions.

    For answers that are only right or wrong `mcnemar` is exact.

    Raises:
        ValueError: Fewer than `LEAST_PAIRS` questions.
    """
    _refuse_unpaired(first, second)
    if len(first) < LEAST_PAIRS:
        raise ValueError(f"{len(first)} questions tell nothing, {LEAST_PAIRS} are needed: ask more")
    return _compared(np.asarray(first, dtype=float) - np.asarray(second, dtype=float), confidence)


def paired_nll(first: Tensor, second: Tensor, confidence: float = 0.95) -> PairedDifference:
    """Compare nats per token on the same tokens by a bootstrap over blocks of `BLOCK` tokens.

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
    means = block_means(first.double() - second.double()).flatten()
    if len(means) < LEAST_BLOCKS:
        raise ValueError(f"{len(means)} blocks of {BLOCK} tokens tell nothing, {LEAST_BLOCKS} are needed: score more")
    return _compared(means.numpy(), confidence)


def _compared(differences: Any, confidence: float) -> PairedDifference:
    """Return the mean with a studentized bootstrap interval, and the p-value of flipped signs.

    Both draw from a generator of their own, so equal scores always give equal numbers.
    """
    checked_confidence(confidence)
    mean, count = float(differences.mean()), len(differences)
    if count < 2 or np.all(differences == differences[0]):
        return PairedDifference(mean, mean, mean, 1.0 if mean == 0 or count < 2 else 0.0, confidence, count)
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


def _right(answers: Sequence[bool]) -> list[bool]:
    wrong = [answer for answer in answers if answer not in (0, 1)]
    if wrong:
        raise ValueError(f"answers must be right or wrong, got {wrong[0]!r}: compare partial credit by paired_scores")
    return [bool(answer) for answer in answers]


def _refuse_unpaired(first: Sequence[Any], second: Sequence[Any]) -> None:
    if len(first) != len(second) or len(first) == 0:
        raise ValueError(f"paired answers must be to the same questions, got {len(first)} and {len(second)}")
