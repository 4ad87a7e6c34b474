"""The laws of rotation in one dimension, and Transformers' own functions as oracles."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from transformers.models.glm.modeling_glm import apply_rotary_pos_emb as glm_rotary
from transformers.models.gptj.modeling_gptj import apply_rotary_pos_emb as gptj_rotary
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb as llama_rotary

from rope_scaling.angles import rotary_cos_sin
from rope_scaling.layouts import Layout, convert_layout, join_pairs, split_pairs
from rope_scaling.rope import Rope
from rope_scaling.rotary import apply_rotary
from rope_scaling.schemes import YaRN
from tests.models import tiny_config

LAYOUTS: list[Layout] = ["half-split", "interleaved"]
both = pytest.mark.parametrize("layout", LAYOUTS)
positions = st.integers(-(2**20), 2**20)
seeds = st.integers(0, 2**31)
geometries = st.tuples(st.floats(100, 1e7), st.integers(1, 32), st.integers(0, 16)).map(
    lambda g: Rope.plain(g[0], 2 * g[1], 4096, head_dim=2 * g[1] + g[2])
)


def vectors(count: int, dim: int, seed: int) -> Tensor:
    """Vectors of length 1 in float64, so that what is seen is the error of cos and sin, at most 1e-6 each."""
    x = torch.randn(count, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return x / x.norm(dim=-1, keepdim=True)


def rotated(x: Tensor, position: int | Tensor, rope: Rope, layout: Layout) -> Tensor:
    return apply_rotary(x, *rotary_cos_sin(torch.as_tensor(position), rope), layout=layout)


@both
@given(rope=geometries, p=positions, q=positions, shift=positions, seed=seeds)
def test_the_dot_product_depends_on_the_distance_only(
    layout: Layout, rope: Rope, p: int, q: int, shift: int, seed: int
) -> None:
    query, key = vectors(2, rope.head_dim, seed)
    here = rotated(query, p, rope, layout) @ rotated(key, q, rope, layout)
    there = rotated(query, p + shift, rope, layout) @ rotated(key, q + shift, rope, layout)
    assert (here - there).abs() < 4e-6


@both
@given(rope=geometries, p=positions, seed=seeds)
def test_norms_are_preserved(layout: Layout, rope: Rope, p: int, seed: int) -> None:
    (x,) = vectors(1, rope.head_dim, seed)
    assert (rotated(x, p, rope, layout).norm() - 1).abs() < 2e-6


@both
@given(rope=geometries, seed=seeds)
def test_position_zero_is_the_identity_bit_for_bit(layout: Layout, rope: Rope, seed: int) -> None:
    (x,) = vectors(1, rope.head_dim, seed)
    assert torch.equal(rotated(x, 0, rope, layout), x)


@both
@given(rope=geometries, p=positions, q=positions, seed=seeds)
def test_rotations_compose(layout: Layout, rope: Rope, p: int, q: int, seed: int) -> None:
    (x,) = vectors(1, rope.head_dim, seed)
    twice = rotated(rotated(x, p, rope, layout), q, rope, layout)
    assert (twice - rotated(x, p + q, rope, layout)).abs().max() < 4e-6


@both
@given(rope=geometries, p=positions, seed=seeds)
def test_minus_sin_turns_back(layout: Layout, rope: Rope, p: int, seed: int) -> None:
    (x,) = vectors(1, rope.head_dim, seed)
    cos, sin = rotary_cos_sin(torch.tensor(p), rope)
    back = apply_rotary(apply_rotary(x, cos, sin, layout=layout), cos, -sin, layout=layout)
    assert (back - x).abs().max() < 2e-6


@given(rope=geometries, p=positions, seed=seeds)
def test_the_layouts_are_one_permutation_apart_bit_for_bit(rope: Rope, p: int, seed: int) -> None:
    (x,) = vectors(1, rope.head_dim, seed)
    converted = convert_layout(x, to="interleaved", rotary_dim=rope.rotary_dim)
    turned = convert_layout(rotated(x, p, rope, "half-split"), to="interleaved", rotary_dim=rope.rotary_dim)
    assert torch.equal(rotated(converted, p, rope, "interleaved"), turned)


@both
@given(rope=geometries, p=positions, seed=seeds)
def test_dimensions_beyond_rotary_dim_pass_through(layout: Layout, rope: Rope, p: int, seed: int) -> None:
    (x,) = vectors(1, rope.head_dim, seed)
    assert torch.equal(rotated(x, p, rope, layout)[rope.rotary_dim :], x[rope.rotary_dim :])


@both
@given(rope=geometries, p=positions, seed=seeds)
def test_a_rotation_is_a_product_with_a_complex_number(layout: Layout, rope: Rope, p: int, seed: int) -> None:
    x = vectors(1, rope.head_dim, seed)[0, : rope.rotary_dim]
    angle = p * torch.tensor(rope.inv_freq, dtype=torch.float64)
    product = torch.complex(*split_pairs(x, layout)) * torch.polar(torch.ones_like(angle), angle)
    assert (rotated(x, p, rope, layout) - join_pairs(product.real, product.imag, layout)).abs().max() < 2e-6


def test_tokens_of_a_batch_have_positions_of_their_own() -> None:
    rope = Rope.plain(1e4, 16, 64)
    x = torch.randn(2, 3, 5, 16)  # (batch, heads, tokens, head_dim)
    position_ids = torch.randint(0, 64, (2, 5))
    cos, sin = rotary_cos_sin(position_ids, rope)
    turned = apply_rotary(x, cos[:, None], sin[:, None])
    for row in range(2):
        for token in range(5):
            alone = rotated(x[row, :, token], position_ids[row, token], rope, "half-split")
            assert torch.equal(turned[row, :, token], alone)


def test_the_attention_factor_stretches_vectors() -> None:
    scaled = YaRN(4.0)(Rope.plain(1e4, 16, 64))
    (x,) = vectors(1, 16, 0)
    turned = apply_rotary(x, *rotary_cos_sin(torch.tensor(77), scaled))
    assert turned.norm().item() == pytest.approx(scaled.attention_factor, abs=1e-6)


def test_half_split_is_transformers_llama_bit_for_bit() -> None:
    q, k = torch.randn(2, 1, 2, 9, 32).unbind(0)
    pairs = rotary_cos_sin(torch.arange(9)[None], Rope.plain(1e4, 32, 64))
    cos, sin = (join_pairs(one, one, "half-split") for one in pairs)
    for x, theirs in zip((q, k), llama_rotary(q, k, cos, sin), strict=True):
        assert torch.equal(apply_rotary(x, pairs[0][:, None], pairs[1][:, None]), theirs)


def test_interleaved_and_partial_is_transformers_glm() -> None:
    q, k = torch.randn(2, 1, 2, 9, 32).unbind(0)
    cos, sin = rotary_cos_sin(torch.arange(9)[None], Rope.plain(1e4, 16, 64))
    theirs = glm_rotary(q, k, torch.cat((cos, cos), -1), torch.cat((sin, sin), -1))
    for x, expected in zip((q, k), theirs, strict=True):
        assert torch.equal(apply_rotary(x, cos[:, None], sin[:, None], layout="interleaved"), expected)


def test_interleaved_is_transformers_gptj() -> None:
    x = torch.randn(1, 9, 2, 32)  # (batch, tokens, heads, head_dim)
    cos, sin = rotary_cos_sin(torch.arange(9)[None], Rope.plain(1e4, 32, 64))
    ours = apply_rotary(x, cos[:, :, None], sin[:, :, None], layout="interleaved")
    assert torch.equal(ours, gptj_rotary(x, sin, cos))


def test_tables_are_those_of_transformers_llama_where_float32_can_tell() -> None:
    config = tiny_config("llama")
    position_ids = torch.arange(8)[None]
    theirs = LlamaRotaryEmbedding(config)(torch.zeros(1), position_ids)
    for pairs, table in zip(rotary_cos_sin(position_ids, Rope.from_config(config)), theirs, strict=True):
        assert (join_pairs(pairs, pairs, "half-split") - table).abs().max() < 1e-6


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_dtype_of_x_is_kept_and_rounded_to_once(dtype: torch.dtype) -> None:
    x = torch.randn(7, 16).to(dtype)
    cos, sin = rotary_cos_sin(torch.arange(7), Rope.plain(1e4, 8, 64))
    turned = apply_rotary(x, cos, sin)
    assert turned.dtype == dtype
    wide = torch.promote_types(dtype, torch.float32)
    assert torch.equal(turned, apply_rotary(x.to(wide), cos, sin).to(dtype))


def test_the_meta_device_and_one_whole_graph_will_do() -> None:
    x = torch.randn(2, 3, 5, 20)
    cos, sin = rotary_cos_sin(torch.arange(5), Rope.plain(1e4, 16, 64))
    assert apply_rotary(x.to("meta"), cos.to("meta"), sin.to("meta")).shape == x.shape
    torch.compiler.reset()
    compiled = torch.compile(apply_rotary, fullgraph=True, backend="aot_eager")
    for layout in LAYOUTS:
        assert torch.equal(compiled(x, cos, sin, layout=layout), apply_rotary(x, cos, sin, layout=layout))


def test_gradients_reach_x_and_the_tables() -> None:
    x, cos, sin = (torch.randn(*shape, dtype=torch.float64, requires_grad=True) for shape in ((3, 6), (3, 2), (3, 2)))
    assert torch.autograd.gradcheck(apply_rotary, (x, cos, sin))


def test_cos_and_sin_of_different_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"one shape, got \(5, 4\) and \(5, 3\)"):
        apply_rotary(torch.zeros(5, 8), torch.zeros(5, 4), torch.zeros(5, 3))


def test_doubled_tables_are_refused_with_the_way_out() -> None:
    doubled = torch.zeros(5, 8)
    with pytest.raises(ValueError, match=r"cos holds 8 pairs, a head of 8 dimensions has 4: .* first half"):
        apply_rotary(torch.zeros(5, 8), doubled, doubled)


@pytest.mark.parametrize("shape", [(2, 5, 4), (6, 4), (1, 2, 3, 5, 4)])
def test_tables_that_do_not_fit_the_tokens_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"does not broadcast .* give cos\[:, None\]"):
        apply_rotary(torch.zeros(2, 3, 5, 8), torch.zeros(shape), torch.zeros(shape))


def test_integers_are_not_rotated() -> None:
    with pytest.raises(TypeError, match=r"floating dtype, got torch.int64"):
        apply_rotary(torch.zeros(5, 8, dtype=torch.int64), torch.zeros(5, 4), torch.zeros(5, 4))
