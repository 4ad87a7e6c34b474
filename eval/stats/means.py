"""The mean over tasks, each of which counts the same however many questions it had."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rope_scaling.eval.stats.intervals import Interval


def mean_interval(each: Sequence[Interval]) -> Interval:
    """Return the interval of the mean of independent means, put together from theirs.

    The distances of the mean's ends are the roots of the summed squares of the single ones, as in Newcombe's method 10
    for two shares: MOVER, Zou and Donner, Statistics in Medicine 27 (2008), 1693, equation 4.

    Raises:
        ValueError: Nothing was measured, or not at one confidence.
    """
    if not each or len({one.confidence for one in each}) > 1:
        raise ValueError(f"give intervals of one confidence, at least one; got {[one.confidence for one in each]}")
    mean = math.fsum(one.mean for one in each) / len(each)
    down = math.hypot(*(one.mean - one.low for one in each)) / len(each)
    up = math.hypot(*(one.high - one.mean for one in each)) / len(each)
    return Interval(mean, mean - down, mean + up, each[0].confidence, sum(one.count for one in each))
