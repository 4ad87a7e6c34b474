"""N-D rotation against the modules of Transformers that do it, to 1e-6."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import DINOv3ViTConfig, Gemma4VisionConfig, Llama4VisionConfig, PixtralVisionConfig, Sam2VideoConfig
from transformers.models.dinov3_vit import modeling_dinov3_vit as dinov3
from transformers.models.ernie4_5_vl_moe import modeling_ernie4_5_vl_moe as ernie
from transformers.models.gemma4 import modeling_gemma4 as gemma4
from transformers.models.glm4v import modeling_glm4v as glm4v
from transformers.models.kimi_k25 import modeling_kimi_k25 as kimi
from transformers.models.llama4 import modeling_llama4 as llama4
from transformers.models.pixtral import modeling_pixtral as pixtral
from transformers.models.qwen2_vl import modeling_qwen2_vl as qwen2_vl
from transformers.models.qwen3_vl import modeling_qwen3_vl as qwen3_vl
from transformers.models.sam2_video import modeling_sam2_video as sam2_video

from rope_scaling.angles import rotary_cos_sin
from rope_scaling.axial import (
    AxialRope,
    axial_rotary,
    grid_positions,
    interleaved_axes,
    section_axes,
    split_frequencies,
)
from rope_scaling.layouts import Layout, join_pairs
from rope_scaling.rope import plain_inv_freq
from rope_scaling.rotary import apply_rotary
from tests.positions import GRID, MIXED

BOUND = 1e-6


def largest_difference(rope: AxialRope, positions: Tensor, theirs: Any, layout: Layout = "half-split") -> float:
    pairs = axial_rotary(positions, rope)
    tables = [join_pairs(one, one, layout) for one in pairs]
    return max((a - b.float()).abs().max().item() for a, b in zip(tables, theirs, strict=True))


# Images: a block of pairs for each axis


def vision_config(modeling: Any, name: str, head_dim: int = 32) -> Any:
    return getattr(modeling, name)(hidden_size=2 * head_dim, num_attention_heads=2)


@pytest.mark.parametrize("head_dim", [32, 80])
def test_blocks_of_the_same_frequencies_are_qwen2_vl_vision(head_dim: int) -> None:
    config = qwen2_vl.Qwen2VLVisionConfig(embed_dim=2 * head_dim, num_heads=2)
    theirs = qwen2_vl.Qwen2VLVisionRotaryEmbedding(config)(torch.zeros(1), GRID)
    inv_freq = plain_inv_freq(1e4, head_dim // 2)
    assert largest_difference(AxialRope.blocks(inv_freq, inv_freq), GRID, theirs) < BOUND


def test_blocks_of_the_same_frequencies_are_qwen3_vl_vision() -> None:
    config = vision_config(qwen3_vl, "Qwen3VLVisionConfig")
    theirs = qwen3_vl.Qwen3VLVisionRotaryEmbedding(config)(torch.zeros(1), GRID)
    inv_freq = plain_inv_freq(1e4, 16)
    assert largest_difference(AxialRope.blocks(inv_freq, inv_freq), GRID, theirs) < BOUND


def test_blocks_of_split_frequencies_are_pixtral() -> None:
    config = PixtralVisionConfig(hidden_size=64, num_attention_heads=2)
    theirs = pixtral.PixtralVisionRotaryEmbedding(config)(torch.zeros(1), GRID)
    rope = AxialRope.blocks(*split_frequencies(plain_inv_freq(1e4, 32), 2))
    assert largest_difference(rope, GRID, theirs) < BOUND


@pytest.mark.parametrize("size", [(7, 8), (64, 48)])
def test_coordinates_between_minus_one_and_one_are_dinov3(size: tuple[int, int]) -> None:
    config = DINOv3ViTConfig(hidden_size=64, num_attention_heads=2, patch_size=4)
    module = dinov3.DINOv3ViTRopePositionEmbedding(config).eval()
    theirs = module(torch.zeros(1, 3, 4 * size[0], 4 * size[1]))
    inv_freq = [2 * math.pi * f for f in plain_inv_freq(100.0, 16)]  # turns for coordinates in [-1, 1]
    centres = 2 * (grid_positions(*size) + 0.5) / torch.tensor(size) - 1
    assert largest_difference(AxialRope.blocks(inv_freq, inv_freq), centres, theirs) < BOUND


def test_interleaved_blocks_are_sam2_video() -> None:
    config = Sam2VideoConfig(memory_attention_hidden_size=64, memory_attention_num_attention_heads=1)
    theirs = sam2_video.Sam2VideoVisionRotaryEmbedding(config)(torch.zeros(1), GRID)
    inv_freq = plain_inv_freq(1e4, theirs[0].shape[-1] // 2)
    ours = AxialRope.blocks(inv_freq, inv_freq)
    assert largest_difference(ours, GRID, [table[0] for table in theirs], "interleaved") < BOUND


def test_pairs_that_alternate_between_column_and_row_are_kimi_k25_vision() -> None:
    config = vision_config(kimi, "Kimi_K25VisionConfig")
    theirs = kimi.Kimi_K25VisionRotaryEmbedding(config)(torch.zeros(1), GRID)
    twice = [f for f in plain_inv_freq(1e4, 16) for _ in range(2)]
    assert largest_difference(AxialRope.assigned((1, 0) * 8, twice), GRID, theirs) < BOUND


def test_interleaved_blocks_that_count_from_one_column_first_are_llama4_vision() -> None:
    config = Llama4VisionConfig(hidden_size=64, num_attention_heads=2, image_size=32, patch_size=4)
    theirs = llama4.Llama4VisionRotaryEmbedding(config)(torch.zeros(1))[:-1, 0]  # the last one is the class token
    inv_freq = plain_inv_freq(1e4, 16)
    pairs = axial_rotary(grid_positions(8, 8).flip(-1) + 1, AxialRope.blocks(inv_freq, inv_freq))
    assert (torch.complex(*pairs) - theirs).abs().max() < 2 * BOUND  # its positions reach 8, in both parts


def test_a_head_rotated_block_by_block_is_gemma4_vision() -> None:
    config = Gemma4VisionConfig(hidden_size=64, num_attention_heads=2, num_key_value_heads=2, head_dim=32)
    cos, sin = gemma4.Gemma4VisionRotaryEmbedding(config)(torch.zeros(1), GRID[None])
    x = torch.randn(1, len(GRID), 2, 32)  # (batch, tokens, heads, head_dim)
    theirs = gemma4.apply_multidimensional_rope(x, cos, sin, GRID[None])
    inv_freq = plain_inv_freq(config.rope_parameters["rope_theta"], 16)
    chunks = (
        apply_rotary(chunk, *(one[:, None] for one in rotary_cos_sin(GRID[:, axis], inv_freq)))
        for axis, chunk in enumerate(x.chunk(2, dim=-1))
    )
    assert (torch.cat(list(chunks), dim=-1) - theirs).abs().max() < 5 * BOUND  # |x| reaches 4


# Text among images and videos: sections and interleaved axes (M-RoPE)


def mrope_tables(modeling: Any, config: str, module: str, section: list[int], theta: float) -> Any:
    """cos and sin of Transformers for MIXED, with heads as large as the section says."""
    rope_parameters = {"rope_type": "default", "rope_theta": theta, "mrope_section": section}
    sizes: dict[str, Any] = {"hidden_size": 4 * sum(section), "num_attention_heads": 2, "head_dim": 2 * sum(section)}
    made = getattr(modeling, config)(**sizes, rope_parameters=rope_parameters)
    return getattr(modeling, module)(made)(torch.zeros(1), MIXED.movedim(-1, 0))


@pytest.mark.parametrize("section", [[16, 24, 24], [2, 3, 3], [4, 1, 11]])
def test_sections_are_qwen2_vl_text(section: list[int]) -> None:
    theirs = mrope_tables(qwen2_vl, "Qwen2VLTextConfig", "Qwen2VLRotaryEmbedding", section, 1e6)
    rope = AxialRope.assigned(section_axes(section), plain_inv_freq(1e6, 2 * sum(section)))
    assert largest_difference(rope, MIXED, theirs) < BOUND


def test_sections_in_the_interleaved_layout_are_glm4v_text() -> None:
    section = [8, 12, 12]
    theirs = mrope_tables(glm4v, "Glm4vTextConfig", "Glm4vTextRotaryEmbedding", section, 1e4)
    rope = AxialRope.assigned(section_axes(section), plain_inv_freq(1e4, 64))
    assert largest_difference(rope, MIXED, theirs, "interleaved") < BOUND


@pytest.mark.parametrize("section", [[24, 20, 20], [6, 5, 5], [4, 4, 4], [9, 5, 2]])
def test_interleaved_axes_are_qwen3_vl_text(section: list[int]) -> None:
    theirs = mrope_tables(qwen3_vl, "Qwen3VLTextConfig", "Qwen3VLTextRotaryEmbedding", section, 5e5)
    rope = AxialRope.assigned(interleaved_axes(section), plain_inv_freq(5e5, 2 * sum(section)))
    assert largest_difference(rope, MIXED, theirs) < BOUND


def test_axes_that_alternate_before_a_section_of_time_are_ernie_4_5_vl() -> None:
    section = [22, 22, 20]  # h, w, t
    theirs = mrope_tables(ernie, "Ernie4_5_VLMoeTextConfig", "Ernie4_5_VLMoeTextRotaryEmbedding", section, 5e5)
    rope = AxialRope.assigned((1, 2) * 22 + (0,) * 20, plain_inv_freq(5e5, 128))
    assert largest_difference(rope, MIXED, theirs, "interleaved") < BOUND


def test_where_all_axes_agree_m_rope_is_rope_in_one_dimension_bit_for_bit() -> None:
    inv_freq = plain_inv_freq(1e6, 64)
    positions = torch.arange(2**20 - 99, 2**20)
    for axes in (section_axes([8, 12, 12]), interleaved_axes([12, 10, 10])):
        ours = axial_rotary(positions[:, None].expand(-1, 3), AxialRope.assigned(axes, inv_freq))
        for one, plain in zip(ours, rotary_cos_sin(positions, inv_freq), strict=True):
            assert torch.equal(one, plain)
