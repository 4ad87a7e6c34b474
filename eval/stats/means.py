"""The mean over tasks, each of which counts the same however many questions it had."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeVar

from rope_scaling.eval.stats.intervals import Interval

Task = TypeVar("Task")
_LEAST = 2
"""Tasks that have a mean."""


def averaged(tasks: Sequence[Task], chance: Callable[[Task], float | None]) -> list[Task]:
    """Return the tasks that are taken together, none where there are not two.

    Those that guessing does not answer, where there are two of them; else those that it does.

    Args:
        tasks: that are answered right or wrong.
        chance: the score of guessing at one; 0 or None where there is none.
    """
    told = [task for task in tasks if not chance(task)]
    chosen = told if len(told) >= _LEAST else [task for task in tasks if chance(task)]
    return chosen if len(chosen) >= _LEAST else []


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
