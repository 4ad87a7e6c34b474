from __future__ import annotations

import pytest

from rope_scaling.eval.stats import THRESHOLDS, Interval, effective_length, score_interval


def ends(low: float, high: float) -> Interval:
    return Interval((low + high) / 2, low, high, 0.95, 10)


YES, NO, OPEN = ends(0.95, 1.0), ends(0.1, 0.5), ends(0.8, 0.95)


@pytest.mark.parametrize(
    ("measured", "at_least", "at_most"),
    [
        ({1024: YES, 2048: YES, 4096: NO}, 2048, 2048),
        ({1024: YES, 2048: OPEN, 4096: NO}, 1024, 2048),
        ({1024: YES, 2048: NO, 4096: YES}, 1024, 1024),  # what is lost once is not found again
        ({1024: OPEN, 2048: YES}, 0, 2048),
        ({1024: NO, 2048: YES}, 0, 0),
        ({4096: NO, 1024: YES}, 1024, 1024),  # in any order
    ],
)
def test_it_is_the_largest_length_up_to_which_every_answer_is_yes(
    measured: dict[int, Interval], at_least: int, at_most: int
) -> None:
    told = effective_length(measured, THRESHOLDS["needle"])
    assert (told.at_least, told.at_most) == (at_least, at_most)
    assert told.decided == (at_least == at_most)


def test_answers_are_those_of_the_intervals() -> None:
    told = effective_length({3: NO, 1: YES, 2: OPEN}, 0.9)
    assert dict(told.answers) == {1: "yes", 2: "undecided", 3: "no"}
    assert effective_length({1: ends(0.9, 0.9)}, 0.9).answers[1] == "yes"


def test_a_difference_from_the_window_must_not_be_above_it() -> None:
    measured = {512: ends(0.0, 0.0), 1024: ends(-0.1, -0.02), 2048: ends(-0.01, 0.02), 4096: ends(0.1, 0.3)}
    told = effective_length(measured, 0.0, at_most=True)
    assert list(told.answers.values()) == ["yes", "yes", "undecided", "no"]
    assert (told.at_least, told.at_most) == (1024, 2048)


def test_twenty_of_twenty_do_not_yet_show_nine_of_ten() -> None:
    few, enough = score_interval([1.0] * 20), score_interval([1.0] * 40)
    assert effective_length({512: few}, THRESHOLDS["needle"]).answers[512] == "undecided"
    assert effective_length({512: enough}, THRESHOLDS["needle"]).answers[512] == "yes"


def test_nothing_measured_is_told() -> None:
    with pytest.raises(ValueError, match="no length was measured"):
        effective_length({}, 0.9)
