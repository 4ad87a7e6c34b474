"""Two schemes' answers to the same questions, right or wrong: the exact test, and how far their shares differ."""

from __future__ import annotations

import math
from collections.abc import Sequence

from scipy import stats

from rope_scaling.eval.intervals import wilson
from rope_scaling.eval.stats.intervals import checked_confidence
from rope_scaling.eval.stats.paired import PairedDifference, paired_scores, refuse_unpaired


def mcnemar(first: Sequence[float], second: Sequence[float]) -> float:
    """Return the exact two-sided p-value of two schemes being right equally often (McNemar 1947).

    Only questions that one got right and the other did not tell anything: under equality each of those is a coin.

    Args:
        first: whether each question was answered right by one scheme.
        second: the same of the other, on the same questions.
    """
    _, only_first, only_second, _ = _table(first, second)
    if only_first + only_second == 0:
        return 1.0
    return float(stats.binomtest(only_first, only_first + only_second).pvalue)


def paired_shares(first: Sequence[float], second: Sequence[float], confidence: float = 0.95) -> PairedDifference:
    """Compare shares of right answers: Newcombe's interval of their difference, McNemar's exact p-value.

    The interval is method 10 of Newcombe, Statistics in Medicine 17 (1998), 2635: Wilson's ends of both shares, put
    together as what is measured on the same questions. Unlike a bootstrap's it is not empty where no question tells
    the schemes apart.
    """
    both, only_first, only_second, neither = _table(first, second)
    asked = both + only_first + only_second + neither
    z = float(stats.norm.ppf((1 + checked_confidence(confidence)) / 2))
    right, other = both + only_first, both + only_second
    share, against = right / asked, other / asked
    (low, high), (other_low, other_high) = wilson(right, asked, z), wilson(other, asked, z)
    together = float(both * neither - only_first * only_second)
    if together > 0:  # Newcombe's correction: few questions show a correlation that there is not
        together = max(together - asked / 2, 0)
    margins = right * (asked - right) * other * (asked - other)
    phi = together / math.sqrt(margins) if margins else 0.0
    difference = (only_first - only_second) / asked
    down = _together(share - low, other_high - against, phi)
    up = _together(high - share, against - other_low, phi)
    ends = max(difference - down, -1.0), min(difference + up, 1.0)
    return PairedDifference(difference, *ends, mcnemar(first, second), confidence, asked)


def paired_answers(first: Sequence[float], second: Sequence[float], confidence: float = 0.95) -> PairedDifference:
    """Compare scores on the same questions: `paired_shares` where all are right or wrong, else `paired_scores`.

    Raises:
        ValueError: Partial credit on too few questions, see `paired_scores`.
    """
    whole = all(score in (0, 1) for scores in (first, second) for score in scores)
    return (paired_shares if whole else paired_scores)(first, second, confidence)


def _together(one: float, other: float, phi: float) -> float:
    return math.sqrt(max(one * one - 2 * phi * one * other + other * other, 0.0))


def _table(first: Sequence[float], second: Sequence[float]) -> tuple[int, int, int, int]:
    """Return how many questions both got right, only the first, only the second, and neither."""
    refuse_unpaired(first, second)
    pairs = list(zip(_right(first), _right(second), strict=True))
    both, only_first = pairs.count((True, True)), pairs.count((True, False))
    only_second = pairs.count((False, True))
    return both, only_first, only_second, len(pairs) - both - only_first - only_second


def _right(answers: Sequence[float]) -> list[bool]:
    wrong = [answer for answer in answers if answer not in (0, 1)]
    if wrong:
        raise ValueError(f"answers must be right or wrong, got {wrong[0]!r}: compare partial credit by paired_scores")
    return [bool(answer) for answer in answers]
