"""Image towers with a 2-D RoPE, patched when they are asked for: by another theta, which is all that they read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModel, Llama4VisionModel, PreTrainedConfig, PreTrainedModel

from rope_scaling import ABF, describe, patch_model, patched, rope_of, unpatch_model
from tests.patches.test_refusals_foreign import assert_untouched, whole_state

FACTOR = 2.0
SIDE = 8
HEAD = 16
SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": SIDE * 4,
    "patch_size": 4,
    "initializer_range": 0.1,
    "num_channels": 3,
}


def pixtral_table(theta: float) -> Tensor:
    """Rows have every other frequency of a head's, columns those between: (head_dim / 2,)."""
    series = theta ** (-torch.arange(0, HEAD, 2, dtype=torch.float64) / HEAD)
    return torch.cat((series[0::2], series[1::2]))


def shared_table(theta: float) -> Tensor:
    """Rows and columns have the same frequencies, those of half a head: (head_dim / 4,)."""
    return theta ** (-torch.arange(0, HEAD // 2, 2, dtype=torch.float64) / (HEAD // 2))


KINDS: dict[str, tuple[str, float, Callable[[float], Tensor], dict[str, Any]]] = {
    "pixtral": ("rope_parameters", 1e4, pixtral_table, SIZES),
    "dinov3_vit": ("rope_theta", 100.0, shared_table, SIZES | {"layerscale_value": 1.0}),
}


def tiny_config(model_type: str, theta: float | None = None) -> PreTrainedConfig:
    key, own, _, sizes = KINDS[model_type]
    theta = theta or own
    said = theta if key == "rope_theta" else {"rope_type": "axial", "rope_theta": theta}
    config: PreTrainedConfig = AutoConfig.for_model(model_type, **sizes, **{key: said})
    return config


def tiny_model(config: PreTrainedConfig) -> PreTrainedModel:
    torch.manual_seed(0)
    model: PreTrainedModel = AutoModel.from_config(config)
    return model.eval()


@torch.no_grad()
def seen(model: PreTrainedModel) -> Tensor:
    """(…, patches, hidden_size) of an image twice as high and wide as those of the config."""
    size = 2 * SIDE * 4
    image = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(5))
    if model.config.model_type != "pixtral":
        out: Tensor = model(image).last_hidden_state
    else:
        out = model(image, image_sizes=torch.tensor([[size, size]])).last_hidden_state
    return out


def live(model: PreTrainedModel) -> Tensor:
    return next(b for name, b in model.named_buffers() if name.endswith("inv_freq") and "original" not in name)


def ntk_theta(model_type: str) -> float:
    """A larger theta by which the slowest pair of the series turns `FACTOR` times slower."""
    pairs = len(KINDS[model_type][2](10.0))
    return KINDS[model_type][1] * FACTOR ** (pairs / (pairs - 1))


@pytest.mark.parametrize("model_type", KINDS)
def test_a_tower_is_its_native_twin(model_type: str, tmp_path: Path) -> None:
    model = tiny_model(tiny_config(model_type))
    model.save_pretrained(tmp_path)  # which writes names into the config
    before, whole = seen(model), whole_state(model)
    patch_model(model, "ntk", factor=FACTOR)
    after = seen(model)
    assert torch.allclose(live(model).double(), KINDS[model_type][2](ntk_theta(model_type)), rtol=1e-6, atol=0)
    assert torch.equal(after, seen(tiny_model(tiny_config(model_type, ntk_theta(model_type)))))
    assert (after - before).abs().max() > 1e-3
    model.save_pretrained(tmp_path)
    reloaded = AutoModel.from_pretrained(tmp_path)
    assert torch.equal(seen(reloaded), after)
    assert_untouched(unpatch_model(model), whole)
    assert torch.equal(seen(model), before)
    assert torch.equal(seen(unpatch_model(reloaded)), before)


@pytest.mark.parametrize("model_type", KINDS)
def test_the_context_manager_and_a_second_patch(model_type: str) -> None:
    model = tiny_model(tiny_config(model_type))
    before, whole = seen(model), whole_state(model)
    with patched(model, ABF(theta=5e5)):
        assert torch.allclose(live(model).double(), KINDS[model_type][2](5e5), rtol=1e-6, atol=0)
    assert_untouched(model, whole)
    patch_model(patch_model(model, ABF(theta=5e5)), "ntk", factor=FACTOR)
    assert torch.allclose(live(model).double(), KINDS[model_type][2](ntk_theta(model_type)), rtol=1e-6, atol=0)
    assert torch.equal(seen(unpatch_model(model)), before)


@pytest.mark.parametrize("model_type", KINDS)
def test_a_tower_is_described_by_the_side_of_its_grid(model_type: str) -> None:
    model = tiny_model(tiny_config(model_type))
    assert f"not patched: {SIDE} -> {SIDE}" in str(describe(model))
    patch_model(model, "ntk", max_length=2 * SIDE)
    assert (describe(model).factor, describe(model).max_length) == (2.0, 2 * SIDE)
    series = sorted(KINDS[model_type][2](ntk_theta(model_type)).tolist(), reverse=True)
    assert rope_of(model).inv_freq == pytest.approx(series, rel=1e-6)
    assert rope_of(model).theta == KINDS[model_type][1]


@pytest.mark.parametrize("model_type", KINDS)
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scheme": "linear"}, "reads nothing but rope_theta, so .* cannot say scheme 'linear'"),
        ({"scheme": "yarn"}, "an image tower takes 'ntk', 'abf' or 'none'"),
        ({"scheme": "ntk", "max_length": SIDE - 1}, "at least the trained length 8, got 7"),
        ({"scheme": "ntk", "on_scaled": "compose"}, "on_scaled and layer_types are for text"),
        ({"scheme": "ntk", "layer_types": ("full_attention",)}, "on_scaled and layer_types are for text"),
    ],
)
def test_what_a_tower_cannot_be_told_is_refused(model_type: str, arguments: dict[str, Any], message: str) -> None:
    model = tiny_model(tiny_config(model_type))
    before = whole_state(model)
    with pytest.raises(ValueError, match=message):
        patch_model(model, **arguments)
    assert_untouched(model, before)


TOWERS: dict[str, dict[str, Any]] = {
    "qwen2_5_vl_vision": {"depth": 1, "hidden_size": 32, "num_heads": 2, "patch_size": 2, "intermediate_size": 32},
    "qwen3_vl_vision": {"depth": 1, "hidden_size": 32, "num_heads": 2, "deepstack_visual_indexes": [0]},
    "glm4v_vision": {"depth": 1, "hidden_size": 32, "num_heads": 2, "image_size": 16, "patch_size": 2},
    "gemma4_vision": {"num_hidden_layers": 1, "hidden_size": 32, "num_attention_heads": 2, "head_dim": HEAD},
}


@pytest.mark.parametrize("model_type", TOWERS)
def test_towers_of_one_table_for_both_axes_hold_that_of_the_new_theta(model_type: str) -> None:
    config = AutoConfig.for_model(model_type, **TOWERS[model_type])
    model, theta = tiny_model(config), config.rope_parameters["rope_theta"]
    assert torch.allclose(live(model).double(), shared_table(theta), rtol=1e-6, atol=0)
    patch_model(model, "ntk", factor=FACTOR, original_max_length=SIDE)
    assert torch.allclose(live(model).double(), shared_table(theta * FACTOR ** (4 / 3)), rtol=1e-6, atol=0)
    assert model.config.rope_parameters["rope_theta"] == pytest.approx(theta * FACTOR ** (4 / 3))
    assert torch.allclose(live(unpatch_model(model)).double(), shared_table(theta), rtol=1e-6, atol=0)


def test_a_tower_for_images_of_any_size_needs_to_be_told_its_grid() -> None:
    model = tiny_model(AutoConfig.for_model("qwen2_5_vl_vision", **TOWERS["qwen2_5_vl_vision"]))
    before = whole_state(model)
    with pytest.raises(ValueError, match=r"does not say for how large images .* give original_max_length"):
        patch_model(model, "ntk")
    assert_untouched(model, before)


def test_a_tower_with_a_table_of_rotations_is_refused() -> None:
    sizes = SIZES | {"vision_output_dim": 32, "projector_input_dim": 32, "projector_output_dim": 32}
    model = Llama4VisionModel(AutoConfig.for_model("llama4_vision_model", **sizes))
    before = whole_state(model)
    with pytest.raises(ValueError, match=r"not understood: rotary_embedding \(Llama4VisionRotaryEmbedding\)"):
        patch_model(model, "ntk")
    assert_untouched(model, before)
