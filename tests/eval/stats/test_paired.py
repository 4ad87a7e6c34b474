from __future__ import annotations

from itertools import product
from math import comb

import numpy as np
import pytest
import torch

from rope_scaling.eval.stats import mcnemar, paired_nll, paired_scores


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


def test_the_p_value_of_few_scores_is_that_of_every_flip_of_signs() -> None:
    first = [1.0, 0.75, 1.0, 0.5, 1.0, 0.25, 0.5, 1.0]
    second = [0.5, 0.5, 1.0, 0.75, 0.25, 0.0, 0.5, 0.0]
    differences = np.subtract(first, second)
    flips = [abs(np.dot(signs, differences)) >= abs(differences.sum()) - 1e-12 for signs in product((1, -1), repeat=8)]
    assert paired_scores(first, second).p_value == pytest.approx(sum(flips) / 2**8)


def test_pairs_tell_apart_what_single_scores_cannot() -> None:
    rng = np.random.default_rng(0)
    text = torch.tensor(rng.normal(3, 1, (2, 64 * 16)))  # tokens differ by far more than schemes do
    told = paired_nll(text + torch.tensor(rng.normal(0.05, 0.2, text.shape)), text)
    assert told.low > 0
    assert told.p_value < 0.01
    assert told.mean == pytest.approx(0.05, abs=0.02)
    assert told.count == 32


def test_intervals_and_p_values_of_skewed_differences_are_as_often_wrong_as_they_say() -> None:
    rng = np.random.default_rng(0)
    covered, kept = 0, 0
    for _ in range(100):
        noise = rng.standard_normal(64 * 24)
        for place in range(1, len(noise)):
            noise[place] += 0.5 * noise[place - 1]
        nll = torch.tensor(np.exp(0.5 * noise) - np.exp(0.125 / 0.75))  # lognormal, of mean 0
        told = paired_nll(nll, torch.zeros_like(nll))
        covered += told.low <= 0 <= told.high
        kept += told.p_value > 0.05
    assert 0.9 <= covered / 100 <= 0.99
    assert 0.9 <= kept / 100 <= 0.99


def test_equal_scores_are_equal_and_the_numbers_do_not_change() -> None:
    nll = torch.rand(64 * 9, generator=torch.Generator().manual_seed(0))
    same = paired_nll(nll, nll)
    assert (same.mean, same.low, same.high, same.p_value) == (0.0, 0.0, 0.0, 1.0)
    assert paired_nll(nll, nll.flip(0)) == paired_nll(nll, nll.flip(0))
    swapped = paired_nll(nll.flip(0), nll)
    assert swapped.p_value == pytest.approx(paired_nll(nll, nll.flip(0)).p_value, abs=0.01)


def test_what_is_not_paired_is_told() -> None:
    with pytest.raises(ValueError, match="answers must be to the same questions, got 2 and 1"):
        mcnemar([True, False], [True])
    with pytest.raises(ValueError, match=r"right or wrong, got 0.5: compare partial credit by paired_scores"):
        mcnemar([0.5], [1])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="7 questions tell nothing, 8 are needed"):
        paired_scores([1.0] * 7, [0.0] * 7)
    with pytest.raises(ValueError, match="paired scores must be of the same tokens"):
        paired_nll(torch.zeros(640), torch.zeros(641))
    with pytest.raises(ValueError, match="7 blocks of 64 tokens tell nothing"):
        paired_nll(torch.zeros(64 * 7), torch.zeros(64 * 7))
