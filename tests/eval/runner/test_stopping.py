from __future__ import annotations

import math

import pytest

from rope_scaling.eval.runner.stopping import LEAST_TEXTS, more, standard_error


@pytest.mark.parametrize("found", [0, 1])
@pytest.mark.parametrize("count", [1, 2, 10, 100])
def test_scores_that_are_all_alike_are_not_known_at_once(found: int, count: int) -> None:
    z = 1.959964
    assert standard_error([found] * count, nats=False) == pytest.approx(z / (count + z * z) / 2, rel=1e-6)


def test_the_error_of_many_shares_is_the_one_of_textbooks() -> None:
    scores = [1.0] * 600 + [0.0] * 400
    assert standard_error(scores, nats=False) == pytest.approx(math.sqrt(0.6 * 0.4 / 1000), rel=0.01)


def test_the_error_of_nats_is_that_of_the_mean_over_texts() -> None:
    nats = [3.0, 4.0] * 8
    assert standard_error(nats, nats=True) == pytest.approx(0.5 * math.sqrt(16 / 15) / 4)
    assert standard_error(nats[: LEAST_TEXTS - 1], nats=True) == math.inf


def test_a_run_looks_seldom_and_asks_no_more_than_it_may() -> None:
    looks = [2]
    while looks[-1] < 50:
        looks.append(more(looks[-1], 50))
    assert looks == [2, 3, 4, 6, 9, 13, 19, 28, 42, 50]
    assert more(1, 5) == 2
