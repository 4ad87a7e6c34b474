import math

import pytest
import torch

from rope_scaling.eval.verdict import BLOCK, block_means, compare


def scores(offset: float, noise: float, blocks: int = 32) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    window = 3 + torch.randn(blocks * BLOCK, generator=generator)
    per_block = torch.randn(blocks, generator=generator).repeat_interleave(BLOCK)
    return window + offset + noise * (per_block - per_block.mean()), window


@pytest.mark.parametrize(
    ("offset", "verdict"),
    [
        (-0.1, "beats window"),
        (0.1, "worse than window"),
        (0.01, "no better than window"),
        (-0.01, "no better than window"),
    ],
)
def test_verdicts_follow_the_sign_and_the_size_of_z(offset: float, verdict: str) -> None:
    assert compare(*scores(offset, noise=0.1)).verdict == verdict


def test_the_numbers_are_those_of_a_paired_z_test_over_blocks() -> None:
    scheme, window = scores(-0.1, noise=0.2)
    got = compare(scheme, window)
    means = (scheme - window).double().view(-1, BLOCK).mean(1)
    assert got.blocks == 32
    assert got.mean_difference == pytest.approx(means.mean().item())
    assert got.standard_error == pytest.approx(means.std().item() / math.sqrt(32))
    assert got.z == pytest.approx(got.mean_difference / got.standard_error)


def test_several_texts_are_judged_by_the_blocks_of_all() -> None:
    scheme, window = scores(-0.1, noise=0.2)
    got = compare(scheme.view(4, -1), window.view(4, -1))
    assert got == compare(scheme, window)
    ragged = compare(
        scheme.view(4, -1)[:, 1:], window.view(4, -1)[:, 1:]
    )  # no block reaches from one text into the next
    means = (scheme - window).double().view(4, -1)[:, 1 : -BLOCK + 1].reshape(-1, BLOCK).mean(1)
    assert ragged.blocks == 28
    assert ragged.mean_difference == pytest.approx(means.mean().item())


def test_what_both_find_hard_does_not_blur_the_difference() -> None:
    scheme, window = scores(-0.02, noise=0.01)  # the texts' own spread is 1 nat a token
    assert compare(scheme, window).verdict == "beats window"


def test_equal_scores_are_no_better() -> None:
    window = scores(0, 0)[1]
    got = compare(window, window)
    assert (got.z, got.mean_difference, got.verdict) == (0.0, 0.0, "no better than window")


def test_few_tokens_get_no_verdict() -> None:
    scheme, window = scores(-1, 0.1, blocks=7)
    got = compare(scheme, window)
    assert (got.verdict, got.z) == ("too few tokens to tell", None)


def test_a_last_block_that_is_not_whole_is_left_out() -> None:
    assert block_means(torch.cat([torch.ones(64), torch.full((64,), 3.0), torch.zeros(63)])).tolist() == [1, 3]


def test_scores_of_other_tokens_are_refused() -> None:
    with pytest.raises(ValueError, match="same tokens"):
        compare(torch.zeros(64), torch.zeros(65))
