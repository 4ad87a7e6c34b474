import math

import pytest

from rope_scaling.eval.intervals import wilson


@pytest.mark.parametrize(("found", "trials"), [(0, 20), (5, 20), (20, 20), (95, 100), (1, 1)])
def test_the_ends_solve_the_score_equation(found: int, trials: int) -> None:
    for end in wilson(found, trials):
        if 1e-9 < end < 1 - 1e-9:
            assert abs(found / trials - end) == pytest.approx(1.96 * math.sqrt(end * (1 - end) / trials))


def test_it_is_never_empty_and_never_leaves_0_to_1() -> None:
    assert wilson(0, 20)[0] == 0
    assert wilson(0, 20)[1] == pytest.approx(1.96**2 / (20 + 1.96**2))
    assert wilson(20, 20)[1] == pytest.approx(1)
    low, high = wilson(7, 40)
    assert low < 7 / 40 < high


def test_it_covers_the_truth_about_95_times_in_100() -> None:
    share, trials = 0.8, 40
    chances = [math.comb(trials, k) * share**k * (1 - share) ** (trials - k) for k in range(trials + 1)]
    covered = sum(chance for k, chance in enumerate(chances) if wilson(k, trials)[0] <= share <= wilson(k, trials)[1])
    assert 0.92 < covered < 0.98


@pytest.mark.parametrize(("found", "trials"), [(0, 0), (3, 2), (-1, 2)])
def test_impossible_counts_are_refused(found: int, trials: int) -> None:
    with pytest.raises(ValueError, match="found must be from 0 to the number of trials"):
        wilson(found, trials)
