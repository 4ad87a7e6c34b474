"""When a cell is known well enough, and how many more samples it gets until then."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from rope_scaling.eval.stats import score_interval

FIRST = 2
"""Samples after which a run looks for the first time."""
LEAST_TEXTS = 8
"""Texts without which the spread of their nats is not known."""
_HALF = 1.959964  # standard errors


def standard_error(scores: Sequence[float], *, nats: bool) -> float:
    """Return how far the mean may be from the true one.

    For shares it is half of Wilson's 95 % interval over 1.96: scores that are all right or all wrong have no spread,
    and would seem to be known after two questions. For nats it is that of the mean over texts.
    """
    if nats:
        if len(scores) < LEAST_TEXTS:
            return math.inf
        return statistics.stdev(scores) / math.sqrt(len(scores))
    interval = score_interval(scores)
    return (interval.high - interval.low) / 2 / _HALF


def more(samples: int, most: int) -> int:
    """Return how many samples come after `samples`: half as many again, so that a run looks seldom and stops soon."""
    return min(most, max(samples + 1, samples * 3 // 2))
