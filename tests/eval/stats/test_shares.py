from __future__ import annotations

from math import comb

import numpy as np
import pytest

from rope_scaling.eval.stats import mcnemar, paired_answers, paired_scores, paired_shares


def answers(both: int, first: int, second: int, neither: int) -> tuple[list[bool], list[bool]]:
    table = [(True, True)] * both + [(True, False)] * first + [(False, True)] * second + [(False, False)] * neither
    return [one for one, _ in table], [other for _, other in table]


@pytest.mark.parametrize(("first", "second"), [(0, 0), (1, 0), (5, 0), (6, 1), (3, 3), (10, 4)])
def test_mcnemar_is_the_share_of_coin_sequences_at_least_as_uneven(first: int, second: int) -> None:
    thrown = first + second
    uneven = [k for k in range(thrown + 1) if abs(2 * k - thrown) >= abs(first - second)]
    assert mcnemar(*answers(7, first, second, 9)) == pytest.approx(sum(comb(thrown, k) for k in uneven) / 2**thrown)


def test_mcnemar_is_the_published_one() -> None:
    # Fagerland, Lydersen, Laake, BMC Med Res Methodol 13:91 (2013), airway hyper-responsiveness: 1, 1, 7, 12
    assert round(mcnemar(*answers(1, 1, 7, 12)), 4) == 0.0703


def test_the_interval_is_the_published_one() -> None:
    # Fagerland, Lydersen, Laake, Stat Med 33:2850 (2014), airway hyper-responsiveness again: square-and-add
    told = paired_shares(*answers(1, 1, 7, 12))
    assert (round(told.mean, 3), round(told.low, 3), round(told.high, 3)) == (-0.286, -0.507, -0.026)


@pytest.mark.parametrize(("share", "other", "together"), [(0.95, 0.8, 0.7), (0.5, 0.5, 0.0), (0.9, 0.9, 0.9)])
def test_the_interval_holds_the_true_difference_nineteen_times_in_twenty(
    share: float, other: float, together: float
) -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(1000):  # with probability `together`, both schemes meet the same luck
        luck = rng.random((2, 40))
        luck[1] = np.where(rng.random(40) < together, luck[0], luck[1])
        told = paired_shares(list(luck[0] < share), list(luck[1] < other))
        covered += told.low <= share - other <= told.high
    assert covered / 1000 >= 0.93


def test_schemes_that_no_question_tells_apart_may_still_differ() -> None:
    few, many = (paired_shares([1] * count, [1] * count) for count in (10, 1000))
    assert few.p_value == many.p_value == 1.0
    assert few.low == -few.high < -0.2
    assert many.low == -many.high > -0.01


def test_turning_the_schemes_round_turns_the_difference_round() -> None:
    first, second = answers(10, 7, 2, 5)
    one, other = paired_shares(first, second), paired_shares(second, first)
    assert (one.mean, one.low, one.high) == pytest.approx((-other.mean, -other.high, -other.low))
    assert one.p_value == other.p_value


def test_partial_credit_is_compared_by_scores_and_whole_answers_exactly() -> None:
    whole, partial = [1.0] * 12 + [0.0] * 4, [0.5] * 12 + [0.25] * 4
    assert paired_answers(whole, partial) == paired_scores(whole, partial)
    assert paired_answers(whole, whole[::-1]) == paired_shares(whole, whole[::-1])


def test_what_is_not_paired_is_told() -> None:
    with pytest.raises(ValueError, match="answers must be to the same questions, got 2 and 1"):
        mcnemar([True, False], [True])
    with pytest.raises(ValueError, match=r"right or wrong, got 0.5: compare partial credit by paired_scores"):
        mcnemar([0.5], [1])
    with pytest.raises(ValueError, match="7 questions tell nothing, 8 are needed"):
        paired_answers([0.5] * 7, [0.0] * 7)
