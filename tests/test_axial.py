"""N-D rotation: shares of the pairs, schemes of their own for each axis, and the laws."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from rope_scaling.angles import rotary_cos_sin
from rope_scaling.axial import (
    AxialRope,
    axial_rotary,
    grid_positions,
    interleaved_axes,
    section_axes,
    split_frequencies,
)
from rope_scaling.layouts import Layout
from rope_scaling.rope import Rope, ScaledRope, plain_inv_freq
from rope_scaling.rotary import apply_rotary
from rope_scaling.schemes import NTK, Linear, YaRN
from tests.positions import GRID, MIXED, VIDEO

BOUND = 1e-6


# Shares and schemes


def test_a_quarter_for_rows_a_quarter_for_columns_and_half_for_both() -> None:
    row, column, both = plain_inv_freq(100.0, 8), plain_inv_freq(50.0, 8), plain_inv_freq(1e4, 16)
    tilted = [f / 3 for f in both]
    rope = AxialRope.concatenated(
        AxialRope.along(0, 2, row), AxialRope.along(1, 2, column), AxialRope.mixed(both, tilted)
    )
    angles = [
        [*(r * f for f in row), *(c * f for f in column), *(r * f + c * g for f, g in zip(both, tilted, strict=True))]
        for r, c in GRID.tolist()
    ]
    cos, sin = axial_rotary(GRID, rope)
    assert cos.shape == (len(GRID), 16)
    assert (cos - torch.tensor(angles).cos()).abs().max() < BOUND
    assert (sin - torch.tensor(angles).sin()).abs().max() < BOUND


def test_each_axis_has_a_scheme_of_its_own() -> None:
    row, column = Rope.plain(1e4, 16, 32), Rope.plain(1e4, 16, 48)
    scaled = YaRN(4.0)(row), NTK(2.0)(column)
    cos, sin = axial_rotary(GRID, AxialRope.blocks(*scaled))
    for axis, (scheme, pairs) in enumerate(zip(scaled, (slice(0, 8), slice(8, 16)), strict=True)):
        alone = rotary_cos_sin(GRID[:, axis], scheme)
        assert torch.equal(cos[:, pairs], alone[0])
        assert torch.equal(sin[:, pairs], alone[1])
    assert scaled[0].attention_factor > scaled[1].attention_factor == 1.0


def test_a_scheme_on_one_axis_of_m_rope_leaves_the_others_alone() -> None:
    rope = Rope.plain(1e6, 64, 32768)
    axes = section_axes([8, 12, 12])
    before = axial_rotary(MIXED, AxialRope.assigned(axes, rope))[0]
    after = axial_rotary(MIXED, AxialRope.assigned(axes, Linear(4.0)(rope), rope, rope))[0]
    assert torch.equal(after[..., 8:], before[..., 8:])
    quarter = MIXED * torch.tensor([0.25, 1.0, 1.0])
    assert (after - axial_rotary(quarter, AxialRope.assigned(axes, rope))[0]).abs().max() < BOUND


def test_pairs_of_m_rope_have_the_attention_factor_of_their_axis() -> None:
    rope = Rope.plain(1e6, 64, 32768)
    scaled = YaRN(4.0)(rope)
    factors = AxialRope.assigned(section_axes([8, 12, 12]), rope, scaled, rope).attention_factors
    assert factors == (1.0,) * 8 + (scaled.attention_factor,) * 12 + (1.0,) * 12


def test_split_frequencies_keep_the_attention_factor_and_use_each_frequency_once() -> None:
    scaled = YaRN(4.0)(Rope.plain(1e4, 32, 64))
    rows, columns = split_frequencies(scaled, 2)
    assert (rows.inv_freq[0], columns.inv_freq[0]) == scaled.inv_freq[:2]
    assert sorted(rows.inv_freq + columns.inv_freq, reverse=True) == list(scaled.inv_freq)
    assert rows.attention_factor == columns.attention_factor == scaled.attention_factor


# Laws

positions = st.tuples(*[st.integers(-(2**18), 2**18)] * 3)
seeds = st.integers(0, 2**31)
layouts = st.sampled_from(["half-split", "interleaved"])
ROPES = {
    "blocks": AxialRope.blocks(plain_inv_freq(100.0, 4), plain_inv_freq(1e4, 8), plain_inv_freq(1e3, 12)),
    "sections": AxialRope.assigned(section_axes([2, 4, 6]), plain_inv_freq(1e4, 24)),
    "interleaved axes": AxialRope.assigned(interleaved_axes([6, 3, 3]), plain_inv_freq(1e4, 24)),
    "mixed": AxialRope.mixed(*(plain_inv_freq(theta, 24) for theta in (1e2, 1e3, 1e4))),
}
every_share = pytest.mark.parametrize("share", ROPES)


def unit_vectors(count: int, seed: int) -> Tensor:
    x = torch.randn(count, 28, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return x / x.norm(dim=-1, keepdim=True)  # 4 dimensions are not rotated


def rotated(x: Tensor, position: tuple[int, ...], share: str, layout: Layout) -> Tensor:
    return apply_rotary(x, *axial_rotary(torch.tensor(position), ROPES[share]), layout=layout)


def plus(p: tuple[int, ...], q: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(a + b for a, b in zip(p, q, strict=True))


@every_share
@given(p=positions, q=positions, shift=positions, seed=seeds, layout=layouts)
def test_the_dot_product_depends_on_the_distance_along_each_axis_only(
    share: str, p: tuple[int, ...], q: tuple[int, ...], shift: tuple[int, ...], seed: int, layout: Layout
) -> None:
    query, key = unit_vectors(2, seed)
    here = rotated(query, p, share, layout) @ rotated(key, q, share, layout)
    there = rotated(query, plus(p, shift), share, layout) @ rotated(key, plus(q, shift), share, layout)
    assert (here - there).abs() < 4 * BOUND


@every_share
@given(p=positions, q=positions, seed=seeds, layout=layouts)
def test_rotations_compose_preserve_norms_and_are_the_identity_at_zero(
    share: str, p: tuple[int, ...], q: tuple[int, ...], seed: int, layout: Layout
) -> None:
    (x,) = unit_vectors(1, seed)
    twice = rotated(rotated(x, p, share, layout), q, share, layout)
    assert (twice - rotated(x, plus(p, q), share, layout)).abs().max() < 4 * BOUND
    assert (rotated(x, p, share, layout).norm() - 1).abs() < 2 * BOUND
    assert torch.equal(rotated(x, (0, 0, 0), share, layout), x)


def test_every_axis_is_seen() -> None:
    (x,) = unit_vectors(1, 0)
    for share in ROPES:
        for axis in range(3):
            position = tuple(int(axis == a) for a in range(3))
            assert not torch.equal(rotated(x, position, share, "half-split"), x)


# Devices, graphs, errors


def test_the_meta_device_and_one_whole_graph_will_do() -> None:
    rope = ROPES["interleaved axes"]
    assert axial_rotary(VIDEO.to("meta"), rope)[0].shape == (len(VIDEO), 12)
    torch.compiler.reset()
    compiled = torch.compile(axial_rotary, fullgraph=True, backend="aot_eager")
    for grid in (VIDEO, VIDEO[:, None] * 2**14, VIDEO / 7):
        assert torch.equal(compiled(grid, rope)[1], axial_rotary(grid, rope)[1])


def test_a_grid_is_walked_with_its_last_axis_fastest() -> None:
    assert grid_positions(2, 3).tolist() == [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2]]
    assert grid_positions(3).tolist() == [[0], [1], [2]]
    assert grid_positions(2, 3, 4, 5).shape == (120, 4)
    assert grid_positions(2, 2, device="meta").device.type == "meta"


def test_axes_of_sections() -> None:
    assert section_axes([1, 2, 3]) == (0, 1, 1, 2, 2, 2)
    assert interleaved_axes([4, 2, 3]) == (0, 1, 2, 0, 1, 2, 0, 0, 2)


@pytest.mark.parametrize("shape", [(), (5,), (5, 3)])
def test_positions_with_another_number_of_axes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"with n_axes 2, got .* give positions.movedim\(0, -1\)"):
        axial_rotary(torch.zeros(shape), AxialRope.blocks([1.0], [1.0]))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: AxialRope((), (1.0,)), "a row for each axis, got none"),
        (lambda: AxialRope(((1.0, 0.5), (1.0,)), (1.0, 1.0)), r"each of the 2 pairs .* got \[2, 1\]"),
        (lambda: AxialRope(((),), ()), r"each of the 0 pairs"),
        (lambda: AxialRope.along(2, 2, [1.0]), "axis must be one of 0 to 1, got 2"),
        (lambda: AxialRope.mixed([1.0, 0.5], [1.0]), r"each of the 2 pairs .* got \[2, 1\]"),
        (lambda: AxialRope.mixed(ScaledRope((1.0,), 1.2), [1.0]), r"needs one attention factor, got \[1.0, 1.2\]"),
        (lambda: AxialRope.concatenated(), r"same number of axes, got \[\]"),
        (lambda: AxialRope.concatenated(AxialRope.blocks([1.0]), ROPES["mixed"]), r"axes, got \[1, 3\]"),
        (lambda: AxialRope.blocks(), "same number of axes"),
        (lambda: AxialRope.assigned((0, 1, 1), [1.0, 0.5]), r"3 pairs on axes \[0, 1\] need 3 .* got \[2, 2\]"),
        (lambda: AxialRope.assigned((0, 2), [1.0, 0.5], [1.0, 0.5]), r"every axis from 0, got \[2, 2\]"),
        (lambda: AxialRope.assigned((0, -1), [1.0, 0.5]), r"axes \[-1, 0\]"),
        (lambda: AxialRope.assigned((), [1.0]), "0 pairs on axes"),
        (lambda: split_frequencies([1.0, 0.5, 0.1], 2), "n_axes must divide the 3 frequencies, got 2"),
        (lambda: interleaved_axes([2, 3, 3]), r"no smaller than the others, got \[2, 3, 3\]"),
    ],
)
def test_shares_that_cannot_be_are_refused(make: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        make()
