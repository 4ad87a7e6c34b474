from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch

from rope_scaling.eval.stats import paired_blocks, paired_nll, paired_scores


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


def test_blocks_are_compared_as_their_tokens_are() -> None:
    rng = np.random.default_rng(0)
    first, second = (torch.tensor(rng.normal(3, 1, (2, 64 * 12))) for _ in range(2))
    means = (nll.reshape(2, 12, 64).mean(dim=-1) for nll in (first, second))
    tokens, blocks = paired_nll(first, second), paired_blocks(*means)
    assert (blocks.mean, blocks.low, blocks.high) == pytest.approx((tokens.mean, tokens.low, tokens.high))
    assert (blocks.p_value, blocks.count) == (tokens.p_value, 24)


def test_the_same_difference_everywhere_has_the_p_value_of_that_many_coins() -> None:
    assert paired_scores([0.75] * 8, [0.5] * 8).p_value == 2 / 2**8
    assert paired_blocks(torch.ones(10), torch.zeros(10)).p_value == 2 / 2**10


def test_what_is_not_paired_is_told() -> None:
    with pytest.raises(ValueError, match="7 questions tell nothing, 8 are needed"):
        paired_scores([1.0] * 7, [0.0] * 7)
    with pytest.raises(ValueError, match="paired scores must be of the same tokens"):
        paired_nll(torch.zeros(640), torch.zeros(641))
    with pytest.raises(ValueError, match="7 blocks of tokens tell nothing"):
        paired_nll(torch.zeros(64 * 7), torch.zeros(64 * 7))
    with pytest.raises(ValueError, match="paired blocks must be of the same tokens"):
        paired_blocks(torch.zeros(2, 8), torch.zeros(8, 2))
