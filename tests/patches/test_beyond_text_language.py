"""Vision-language models: the language model's M-RoPE is patched natively, the tower for images is left alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForImageTextToText, PreTrainedConfig, PreTrainedModel

from rope_scaling import describe, patch_model, patched, unpatch_model
from tests.models import TRAINED, tokens

FACTOR = 2.0
THETA = 1e4
PAIRS = 16
TOLERANCE = 4e-6
TEXT: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "head_dim": 2 * PAIRS,
    "vocab_size": 97,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": TRAINED,
    "pad_token_id": 0,
    "initializer_range": 0.1,  # sharp attention, so that wrong frequencies show
}
VISION: dict[str, Any] = {
    "depth": 1,
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_heads": 2,
    "patch_size": 2,
    "out_hidden_size": 64,
    "temporal_patch_size": 1,
    "spatial_merge_size": 2,
    "initializer_range": 0.1,
}
TOWERS: dict[str, dict[str, Any]] = {
    "qwen2_vl": {
        **{key: VISION[key] for key in VISION if key != "out_hidden_size"},
        "embed_dim": 32,
        "hidden_size": 64,
    },
    "qwen2_5_vl": VISION | {"window_size": 8, "fullatt_block_indexes": [0]},
    "qwen3_vl": VISION | {"num_position_embeddings": 16, "deepstack_visual_indexes": [0]},
    "glm4v": VISION | {"image_size": 8},
}
SECTIONS = {"qwen2_vl": [4, 6, 6], "qwen2_5_vl": [4, 6, 6], "qwen3_vl": [6, 5, 5], "glm4v": [4, 6, 6]}
"""Pairs for time, height and width; other than the architecture's own default, so that a lost key shows."""
TAKING_TURNS = ("qwen3_vl",)
IMAGE_TOKENS = {"image_token_id": 90, "video_token_id": 91}
STARTS = {"vision_start_token_id": 92, "vision_end_token_id": 93}
GLM_STARTS = {
    "image_start_token_id": 92,
    "image_end_token_id": 93,
    "video_start_token_id": 94,
    "video_end_token_id": 95,
}


def tiny_config(model_type: str, parameters: dict[str, Any] | None = None, length: int = TRAINED) -> PreTrainedConfig:
    plain = {"rope_type": "default", "rope_theta": THETA}
    text = (
        TEXT
        | {"max_position_embeddings": length}
        | {"rope_parameters": (parameters or plain) | {"mrope_section": SECTIONS[model_type]}}
    )
    starts = GLM_STARTS if model_type == "glm4v" else STARTS
    config: PreTrainedConfig = AutoConfig.for_model(
        model_type, text_config=text, vision_config=dict(TOWERS[model_type]), **IMAGE_TOKENS, **starts
    )
    return config


def tiny_model(config: PreTrainedConfig) -> PreTrainedModel:
    torch.manual_seed(0)
    model: PreTrainedModel = AutoModelForImageTextToText.from_config(config)
    return model.eval()


def positions(count: int = 2 * TRAINED) -> torch.Tensor:
    """Of time, height and width, (3, 1, count), each its own."""
    return torch.randint(0, count, (3, 1, count), generator=torch.Generator().manual_seed(2))


@torch.no_grad()
def hidden(model: PreTrainedModel) -> torch.Tensor:
    """(1, tokens, hidden_size) of the language model, for positions of three axes."""
    out: torch.Tensor = model.model.language_model(
        input_ids=tokens(), position_ids=positions(), use_cache=False
    ).last_hidden_state
    return out


def tower_tables(model: PreTrainedModel) -> list[torch.Tensor]:
    return [buffer.clone() for name, buffer in model.model.visual.named_buffers() if "inv_freq" in name]


def native(case: str) -> dict[str, Any]:
    theta = THETA * FACTOR ** (2 * PAIRS / (2 * PAIRS - 2)) if case == "ntk" else THETA
    said: dict[str, Any] = {"rope_type": "default" if case == "ntk" else case, "rope_theta": theta}
    if case != "ntk":
        said["factor"] = FACTOR
    if case in ("yarn", "llama3"):
        said["original_max_position_embeddings"] = TRAINED
    if case == "llama3":
        said |= {"low_freq_factor": 1.0, "high_freq_factor": 4.0}
    return said


@pytest.mark.parametrize("case", ["linear", "ntk", "yarn", "llama3"])
@pytest.mark.parametrize("model_type", TOWERS)
def test_the_language_model_is_its_native_twin(model_type: str, case: str, tmp_path: Path) -> None:
    model = tiny_model(tiny_config(model_type))
    before, tower = hidden(model), tower_tables(model)
    patch_model(model, case, factor=FACTOR)
    after = hidden(model)
    twin = tiny_model(tiny_config(model_type, native(case), int(TRAINED * FACTOR)))
    assert (after - hidden(twin)).abs().max() <= TOLERANCE
    assert (after - before).abs().max() > 1e-3
    assert all(torch.equal(a, b) for a, b in zip(tower, tower_tables(model), strict=True))
    assert tower, "a tower without frequencies would show nothing"
    model.save_pretrained(tmp_path)
    reloaded = AutoModelForImageTextToText.from_pretrained(tmp_path)
    assert torch.equal(hidden(reloaded), after)
    assert reloaded.config.text_config.rope_parameters["mrope_section"] == SECTIONS[model_type]
    assert reloaded.config.text_config.max_position_embeddings == TRAINED * FACTOR
    assert torch.equal(hidden(unpatch_model(model)), before)


def axis_of_pair(model_type: str) -> list[int]:
    section = SECTIONS[model_type]
    if model_type not in TAKING_TURNS:
        return [axis for axis, pairs in enumerate(section) for _ in range(pairs)]
    return [i % 3 if i < 3 * section[i % 3] else 0 for i in range(PAIRS)]


@pytest.mark.parametrize("model_type", TOWERS)
def test_every_pair_turns_by_its_own_axis_at_the_scaled_frequency(model_type: str) -> None:
    model = patch_model(tiny_model(tiny_config(model_type)), "linear", factor=FACTOR)
    cos, sin = model.model.language_model.rotary_emb(torch.zeros(1, 1, 1), positions())
    pick = slice(None, None, 2) if model_type == "glm4v" else slice(PAIRS)  # interleaved pairs, or half-split
    inv_freq = THETA ** (-torch.arange(PAIRS, dtype=torch.float64) / PAIRS) / FACTOR
    angles = positions()[axis_of_pair(model_type), 0].double().T * inv_freq  # (tokens, PAIRS)
    assert torch.allclose(cos[0, :, pick].double(), angles.cos(), atol=1e-5)
    assert torch.allclose(sin[0, :, pick].double(), angles.sin(), atol=1e-5)


def test_a_text_with_an_image_is_that_of_the_native_twin() -> None:
    ids = tokens(40).clamp(max=89)  # no image but the one
    ids[0, 4:9] = torch.tensor([92, 90, 90, 90, 90])
    pixels = torch.randn(16, 3 * 2 * 2, generator=torch.Generator().manual_seed(3))  # 4 x 4 patches, merged to 4 tokens
    asked = {
        "input_ids": ids,
        "pixel_values": pixels,
        "image_grid_thw": torch.tensor([[1, 4, 4]]),
        "mm_token_type_ids": (ids == 90).int(),
        "attention_mask": torch.ones_like(ids),
    }
    model = tiny_model(tiny_config("qwen2_vl"))
    twin = tiny_model(tiny_config("qwen2_vl", native("yarn"), int(TRAINED * FACTOR)))
    with torch.no_grad():
        before = model(**asked).logits
        with patched(model, "yarn", factor=FACTOR):
            assert torch.equal(model(**asked).logits, twin(**asked).logits)
            assert not torch.equal(model(**asked).logits, before)
        assert torch.equal(model(**asked).logits, before)


def test_the_tower_is_patched_when_it_is_asked_for_and_the_language_model_left_alone(tmp_path: Path) -> None:
    model = tiny_model(tiny_config("qwen2_vl"))
    text, tower = hidden(model), tower_tables(model)
    patch_model(model.model.visual, "ntk", factor=FACTOR, original_max_length=4)
    pairs = 4  # a head of 16 dimensions, half of them for each axis
    theta = 1e4 * FACTOR ** (2 * pairs / (2 * pairs - 2))
    live = tower_tables(model)[0].double()
    assert torch.allclose(live, theta ** (-torch.arange(pairs, dtype=torch.float64) / pairs), rtol=1e-6, atol=0)
    assert torch.equal(hidden(model), text)
    assert describe(model).scheme is None
    assert describe(model.model.visual).max_length == 8
    patch_model(model, "linear", factor=FACTOR)
    model.save_pretrained(tmp_path)
    reloaded = AutoModelForImageTextToText.from_pretrained(tmp_path)
    assert torch.equal(hidden(reloaded), hidden(model))
    assert torch.equal(tower_tables(reloaded)[0], tower_tables(model)[0])
    unpatch_model(reloaded.model.visual)
    unpatch_model(unpatch_model(model).model.visual)
    for one in (model, reloaded):
        assert all(torch.equal(a, b) for a, b in zip(tower, tower_tables(one), strict=True))
    assert torch.equal(hidden(model), text)


def test_sections_survive_another_patch_and_a_scaled_checkpoint() -> None:
    model = tiny_model(tiny_config("qwen2_5_vl", native("yarn"), int(TRAINED * FACTOR)))
    with pytest.raises(ValueError, match="scaled already"):
        patch_model(model, "ntk")
    patch_model(patch_model(model, "ntk", on_scaled="replace"), "linear", on_scaled="replace", factor=FACTOR)
    twin = tiny_model(tiny_config("qwen2_5_vl", native("linear"), int(TRAINED * FACTOR)))
    assert (hidden(model) - hidden(twin)).abs().max() <= TOLERANCE
    rotary: nn.Module = model.model.language_model.rotary_emb
    assert rotary.mrope_section == SECTIONS["qwen2_5_vl"]
