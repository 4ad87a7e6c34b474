"""Maps, regions and bands by themselves, and the reference attention against Transformers' own rotation."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb

from rope_scaling.remap import (
    IDENTITY,
    Affine,
    Band,
    Constant,
    LogRatio,
    Modulo,
    PositionMap,
    Region,
    check_cover,
    position_matrix,
    reference_attention,
    reference_scores,
)
from rope_scaling.rope import plain_inv_freq

PLAIN = (Band(Region()),)
PARAMETERS = {"rope_type": "default", "rope_theta": 1e4}


@given(index=st.integers(0, 2**31), divisor=st.integers(1, 2**20))
def test_groups_are_those_of_integer_division(index: int, divisor: int) -> None:
    assert Affine(divisor, floor=True)(torch.tensor(index)).item() == index // divisor


@pytest.mark.parametrize(
    ("position_map", "expected"),
    [
        (IDENTITY, [0, 1, 2, 3, 4, 5]),
        (Affine(2, 1), [1, 1.5, 2, 2.5, 3, 3.5]),
        (Affine(2, 1, floor=True), [1, 1, 2, 2, 3, 3]),
        (Affine(offset=-2), [-2, -1, 0, 1, 2, 3]),
        (Constant(7), [7] * 6),
        (Modulo(4), [0, 1, 2, 3, 0, 1]),
        (Modulo(4, offset=4, cap=6), [4, 5, 6, 6, 4, 5]),
        (LogRatio(4), [1, 1, 1, 1, math.log(5) / math.log(4), math.log(6) / math.log(4)]),
    ],
)
def test_a_map_gives_a_position_for_each_index(position_map: PositionMap, expected: list[float]) -> None:
    index = torch.arange(6).view(2, 3)
    found = position_map(index)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found.flatten(), torch.tensor(expected, dtype=torch.float64), rtol=1e-15, atol=0)
    assert isinstance(position_map, PositionMap)


@given(length=st.integers(2, 2**20), index=st.integers(0, 2**24))
def test_scores_are_sharpened_by_no_bit_within_the_trained_length(length: int, index: int) -> None:
    found = LogRatio(length)(torch.tensor([index % length, length + index]))
    assert found[0].item() == 1.0
    assert found[1].item() == pytest.approx(math.log(length + index + 1) / math.log(length))
    assert found[1] > 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Affine(0), "divisor must be a finite number above 0"),
        (lambda: Affine(offset=math.nan), "offset must be finite"),
        (lambda: Constant(math.inf), "position must be finite"),
        (lambda: Modulo(0), "chunk must be"),
        (lambda: Modulo(4, cap=math.inf), "cap must be finite"),
        (lambda: LogRatio(1), "at least 2 tokens"),
        (lambda: Region(first=-1), "first must be at least 0"),
        (lambda: Region(first=5, last=5), "last must be above first"),
        (lambda: Region(nearest=5, farthest=3), "farthest must be above nearest"),
        (lambda: Region(closest=1), "give chunk"),
        (lambda: Region(chunk=0), "chunk must be at least 1"),
    ],
)
def test_what_means_nothing_is_refused(make: object, message: str) -> None:
    assert callable(make)
    with pytest.raises(ValueError, match=message):
        make()


def test_a_region_holds_what_its_bounds_say() -> None:
    region = Region(first=3, last=9, nearest=1, farthest=5, chunk=2, closest=1, remotest=3)
    for i in range(12):
        for j in range(12):
            expected = 3 <= i < 9 and 1 <= i - j < 5 and 1 <= i // 2 - j // 2 < 3
            assert region.holds(torch.tensor(i), torch.tensor(j)).item() == expected


def test_no_region_reaches_past_its_query() -> None:
    i = torch.arange(5)
    assert torch.equal(Region().holds(i[:, None], i), torch.ones(5, 5).tril().bool())


@pytest.mark.parametrize(
    ("bands", "message"),
    [
        ((Band(Region(farthest=3)),), "query 3 sees key 0 in 0 bands, must be 1"),
        ((Band(Region()), Band(Region(nearest=4))), "query 4 sees key 0 in 2 bands, must be 1"),
    ],
)
def test_a_gap_and_an_overlap_are_found(bands: tuple[Band, ...], message: str) -> None:
    check_cover(bands, 3)
    with pytest.raises(ValueError, match=message):
        check_cover(bands, 6)


def test_a_band_is_plain_when_neither_map_moves_anything() -> None:
    assert Band(Region(nearest=3)).plain
    assert not Band(Region(), Affine(2)).plain
    assert not Band(Region(), keys=Constant(0)).plain


def llama_scores(query: Tensor, key: Tensor, positions: Tensor) -> Tensor:
    """What Llama's own rotation gives at these positions."""
    config = LlamaConfig(hidden_size=64, num_attention_heads=4, rope_parameters=PARAMETERS)
    cos, sin = LlamaRotaryEmbedding(config)(query, positions[None])
    query, key = apply_rotary_pos_emb(query, key, cos, sin)
    return query @ key.repeat_interleave(2, 1).mT / math.sqrt(query.shape[-1])


def test_the_reference_is_llamas_own_attention_where_nothing_is_remapped() -> None:
    torch.manual_seed(0)
    query, key, value = torch.randn(2, 4, 40, 16), torch.randn(2, 2, 40, 16), torch.randn(2, 2, 40, 8)
    causal = torch.ones(40, 40).tril().bool()
    native = llama_scores(query, key, torch.arange(40)).masked_fill(~causal, -torch.inf)
    found = reference_scores(query, key, PLAIN, plain_inv_freq(1e4, 16))
    torch.testing.assert_close(found.float(), native, rtol=1e-5, atol=1e-5)
    expected = native.softmax(-1) @ value.repeat_interleave(2, 1)
    found = reference_attention(query, key, value, PLAIN, plain_inv_freq(1e4, 16))
    torch.testing.assert_close(found.float(), expected, rtol=1e-5, atol=1e-5)


def test_the_reference_of_a_band_is_llamas_rotation_at_its_positions() -> None:
    torch.manual_seed(1)
    query, key = torch.randn(1, 4, 30, 16), torch.randn(1, 2, 30, 16)
    bands = (Band(Region(farthest=8)), Band(Region(nearest=8), Affine(3, 6, floor=True), Affine(3, floor=True)))
    found = reference_scores(query, key, bands, plain_inv_freq(1e4, 16)).float()
    near = llama_scores(query, key, torch.arange(30))
    far_keys = torch.arange(30) // 3
    config = LlamaConfig(hidden_size=64, num_attention_heads=4, rope_parameters=PARAMETERS)
    rotary = LlamaRotaryEmbedding(config)
    far_query, _ = apply_rotary_pos_emb(query, key, *rotary(query, far_keys[None] + 6))
    _, far_key = apply_rotary_pos_emb(query, key, *rotary(query, far_keys[None]))
    far = far_query @ far_key.repeat_interleave(2, 1).mT / 4
    distance = torch.arange(30)[:, None] - torch.arange(30)
    expected = torch.where(distance < 8, near, far).masked_fill(distance < 0, -torch.inf)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_the_reference_knows_neighbouring_pairs_partial_rotation_and_the_last_queries() -> None:
    torch.manual_seed(2)
    query, key = torch.randn(1, 2, 5, 10), torch.randn(1, 2, 12, 10)
    angles = plain_inv_freq(1e4, 6)
    found = reference_scores(query, key, PLAIN, angles, interleaved=True, start=4, scaling=1.0, score_scale=LogRatio(9))
    for i in range(5):
        for j in range(12):
            if j > i + 7:
                assert found[0, 1, i, j] == -torch.inf
                continue
            q, k = query[0, 1, i].double(), key[0, 1, j].double()
            score = (q[:4] @ k[:4]).item()
            for pair, angle in enumerate(angles):
                turn = torch.tensor(angle * (i + 7 - j)).double()
                (a, b), (c, d) = q[4 + 2 * pair : 6 + 2 * pair], k[4 + 2 * pair : 6 + 2 * pair]
                score += ((a * turn.cos() - b * turn.sin()) * c + (b * turn.cos() + a * turn.sin()) * d).item()
            scale = max(1.0, math.log(i + 8) / math.log(9))
            assert found[0, 1, i, j].item() == pytest.approx(score * scale, rel=1e-6, abs=1e-7)


def test_positions_above_the_diagonal_are_none() -> None:
    assert bool(position_matrix(PLAIN, 4).isnan().equal(torch.ones(4, 4).triu(1).bool()))
