from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from rope_scaling.eval.stats import nll_interval, score_interval


@pytest.mark.parametrize(("found", "trials"), [(0, 5), (5, 20), (40, 40), (81, 263)])
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
def test_scores_have_scipys_wilson_interval(found: int, trials: int, confidence: float) -> None:
    told = score_interval([1.0] * found + [0.0] * (trials - found), confidence)
    wanted = stats.binomtest(found, trials).proportion_ci(confidence, method="wilson")
    assert (told.low, told.high) == pytest.approx((wanted.low, wanted.high), abs=1e-9)
    assert (told.mean, told.count) == (found / trials, trials)


def test_it_is_newcombes_published_interval() -> None:
    # Newcombe, Statistics in Medicine 17 (1998), table I, method 3: 81 of 263
    told = score_interval([1.0] * 81 + [0.0] * 182)
    assert (round(told.low, 4), round(told.high, 4)) == (0.2553, 0.3662)


def test_partial_credit_covers_the_truth_at_least_as_often() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(2000):  # a share of four answers, each found with probability 0.7, together or not
        shares = np.where(rng.random(24) < 0.5, rng.binomial(4, 0.7, 24) / 4, rng.binomial(1, 0.7, 24))
        told = score_interval(list(shares))
        covered += told.low <= 0.7 <= told.high
    assert covered / 2000 > 0.95


def test_nats_of_neighbouring_tokens_are_covered_nineteen_times_in_twenty() -> None:
    rng = np.random.default_rng(0)
    covered, naive = 0, 0
    for _ in range(400):
        noise = rng.standard_normal((4, 64 * 8 + 30))  # four texts
        for place in range(1, noise.shape[1]):
            noise[:, place] += 0.5 * noise[:, place - 1]
        nll = torch.tensor(3 + noise)
        told = nll_interval(nll)
        assert told.count == 32
        covered += told.low <= 3 <= told.high
        naive += abs(nll.mean().item() - 3) <= 1.96 * nll.std().item() / nll.numel() ** 0.5
    assert 0.92 <= covered / 400 <= 0.98
    assert naive / 400 < 0.8  # tokens taken for independent


@pytest.mark.parametrize("scores", [[], [0.5, 1.1], [-0.1]])
def test_what_is_no_score_is_told(scores: list[float]) -> None:
    with pytest.raises(ValueError, match="scores must be numbers from 0 to 1, at least one"):
        score_interval(scores)


def test_too_little_text_and_wrong_confidence_are_told() -> None:
    with pytest.raises(ValueError, match="7 blocks of tokens tell no interval, 8 are needed"):
        nll_interval(torch.zeros(64 * 7 + 63))
    with pytest.raises(ValueError, match="confidence must be between 0 and 1"):
        score_interval([1.0], 95)
