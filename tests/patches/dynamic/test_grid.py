"""The grid of lengths: where its rows stand, and what is in them."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from rope_scaling import NTK, DynamicScaling, LongRoPE, Rope, YaRN
from rope_scaling.patches.dynamic.grid import grid_lengths, make_grid

ROPE = Rope.plain(1e4, 64, 4096)
TRAINED = torch.tensor(ROPE.inv_freq, dtype=torch.float64).float()


def test_it_begins_at_the_trained_length_and_ends_at_the_cap() -> None:
    lengths = grid_lengths(4096, 3.0)
    assert lengths[0] == 4096
    assert lengths[-1] == 12288


def test_it_holds_every_power_of_two_exactly() -> None:
    assert {8192, 16384, 32768} <= {*grid_lengths(4096, 8.0)}


def test_neighbours_are_at_most_a_thirty_second_of_a_doubling_apart() -> None:
    lengths = grid_lengths(4096, None)
    assert all(b / a <= 2 ** (1 / 32) + 1 / a for a, b in itertools.pairwise(lengths))
    assert lengths[-1] == 4096 * 2**16


def test_a_cap_of_one_leaves_one_row() -> None:
    assert grid_lengths(4096, 1.0) == [4096]


def test_the_first_row_is_the_tensor_that_the_module_held() -> None:
    nearly = TRAINED * (1 + 1e-7)
    grid = make_grid(DynamicScaling(YaRN(4.0)), ROPE, nearly, 1.0)
    assert torch.equal(grid.inv_freq[0], nearly)
    assert grid.factors[0] == 1.0


def test_every_row_has_the_frequencies_of_its_length() -> None:
    grid = make_grid(DynamicScaling(NTK(4.0)), ROPE, TRAINED, 1.0)
    for length, row in zip(grid.lengths.tolist(), grid.inv_freq.double(), strict=True):
        theta = 1e4 * (length / 4096) ** (64 / 62)
        meant = theta ** (-torch.arange(32, dtype=torch.float64) / 32)
        assert torch.allclose(row, meant, rtol=2e-7, atol=0)


def test_factors_follow_the_length() -> None:
    grid = make_grid(DynamicScaling(YaRN(4.0)), ROPE, TRAINED, 1.0)
    meant = [0.1 * math.log(length / 4096) + 1 for length in grid.lengths.tolist()]
    assert grid.factors.tolist() == pytest.approx(meant, rel=1e-7)


def test_a_scheme_of_two_lists_has_two_rows() -> None:
    grid = make_grid(DynamicScaling(LongRoPE([2.0] * 32, factor=8.0)), ROPE, TRAINED, 1.0)
    assert grid.lengths.tolist() == [4096, 32768]


def test_pairs_that_stand_still_go_on_standing() -> None:
    still = torch.cat((TRAINED, torch.zeros(8)))
    grid = make_grid(DynamicScaling(YaRN(4.0)), ROPE, still, 1.0)
    assert grid.inv_freq.shape[-1] == 40
    assert not grid.inv_freq[:, 32:].any()
