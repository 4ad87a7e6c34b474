from __future__ import annotations

import numpy as np
import pytest

from rope_scaling.eval.stats import Interval, mean_interval, score_interval


def test_a_difference_of_two_shares_has_the_published_interval() -> None:
    # Newcombe, Stat Med 17:873 (1998), table II, (a): 56/70 - 48/80 by method 10
    first, second = score_interval([1] * 56 + [0] * 14), score_interval([0] * 48 + [1] * 32)
    told = mean_interval([first, second])  # of p and 1 - q, so twice that less 1 is p - q
    assert [round(2 * end - 1, 4) for end in (told.low, told.mean, told.high)] == [0.0524, 0.2, 0.3339]


def test_one_interval_is_its_own_mean() -> None:
    one = score_interval([1, 1, 0, 1])
    told = mean_interval([one])
    assert (told.mean, told.low, told.high, told.count) == pytest.approx((one.mean, one.low, one.high, one.count))


def test_the_true_mean_lies_inside_as_often_as_promised() -> None:
    rng = np.random.default_rng(0)
    shares = rng.uniform(0.1, 0.95, size=8)
    inside = 0
    for _ in range(400):
        each = [score_interval((rng.random(6) < share).astype(float).tolist()) for share in shares]
        told = mean_interval(each)
        inside += told.low <= shares.mean() <= told.high
    assert inside / 400 >= 0.93


def test_the_ends_stay_shares() -> None:
    for scores in ([0.0], [1.0]):
        told = mean_interval([score_interval(scores)] * 3)
        assert 0 <= told.low <= told.mean <= told.high <= 1


@pytest.mark.parametrize("each", [[], [Interval(0.5, 0, 1, 0.95, 1), Interval(0.5, 0, 1, 0.9, 1)]], ids=len)
def test_nothing_and_unlike_intervals_are_refused(each: list[Interval]) -> None:
    with pytest.raises(ValueError, match="at least one"):
        mean_interval(each)
