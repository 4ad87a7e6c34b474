"""Architectures whose attention has a temperature beside the rotation: folded into a scale, or by position."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from rope_scaling import YaRN, describe, patch_model, patched, unpatch_model
from tests.architectures.matrix import everything, logits, same
from tests.architectures.shrink import TRAINED, tiny_config, tiny_model

FOLDED = [
    "deepseek_v2",
    "deepseek_v3",
    "deepseek_v32",
    "glm4_moe_lite",
    "glm_moe_dsa",
    "longcat_flash",
    "minicpm3",
    "youtu",
]
KEYS = {"mscale": 1.0, "mscale_all_dim": 1.0}
TRAINED_BY_YARN = KEYS | {
    "rope_type": "yarn",
    "rope_theta": 1e4,
    "factor": 4.0,
    "original_max_position_embeddings": TRAINED // 4,
}


def scaled_checkpoint(model_type: str, **parameters: Any) -> PreTrainedModel:
    return tiny_model(tiny_config(model_type, rope_parameters=TRAINED_BY_YARN | parameters))


def softmax_scale(model: PreTrainedModel) -> float:
    return next(float(m.scaling) for m in model.modules() if "scaling" in vars(m) and hasattr(m, "kv_lora_rank"))


def mscale(s: float) -> float:
    return 0.1 * math.log(s) + 1.0


@pytest.mark.parametrize("model_type", FOLDED)
@pytest.mark.parametrize(("scheme", "more"), [("linear", 1.0), ("ntk", 1.0), ("yarn", mscale(2.0))])
def test_composing_keeps_the_trained_temperature_and_yarn_adds_its_own(
    model_type: str, scheme: str, more: float, tmp_path: Path
) -> None:
    model = scaled_checkpoint(model_type)
    before, state, trained = logits(model), everything(model), softmax_scale(model)
    patch_model(model, scheme, factor=2, on_scaled="compose")
    assert softmax_scale(model) == pytest.approx(trained * more**2, rel=1e-9)
    after = logits(model)
    assert not torch.equal(after, before)
    model.save_pretrained(tmp_path)
    assert torch.equal(logits(type(model).from_pretrained(tmp_path).eval()), after)
    unpatch_model(model)
    assert torch.equal(logits(model), before)
    assert same(everything(model), state)


def test_replacing_starts_without_a_temperature() -> None:
    model = scaled_checkpoint("deepseek_v3")
    trained = softmax_scale(model)
    patch_model(model, "ntk", factor=2, on_scaled="replace")
    assert softmax_scale(model) == pytest.approx(trained / mscale(4.0) ** 2, rel=1e-9)
    patch_model(model, "yarn", factor=8, on_scaled="replace")
    native = scaled_checkpoint("deepseek_v3", factor=8.0)
    assert softmax_scale(model) == softmax_scale(native)
    assert torch.equal(logits(model), logits(native))


def test_a_block_and_a_second_patch_leave_no_temperature_behind() -> None:
    model = tiny_model(tiny_config("deepseek_v3", rope_parameters={"rope_type": "default", "rope_theta": 1e4} | KEYS))
    plain = softmax_scale(model)
    patch_model(model, "yarn", factor=4)
    with patched(model, "yarn", factor=8):
        assert softmax_scale(model) == pytest.approx(plain * mscale(8.0) ** 2)
    assert softmax_scale(model) == pytest.approx(plain * mscale(4.0) ** 2)
    assert softmax_scale(patch_model(model, "linear", factor=4)) == plain
    assert softmax_scale(unpatch_model(model)) == plain


def test_a_reloaded_checkpoint_loses_its_temperature_with_its_patch(tmp_path: Path) -> None:
    model = tiny_model(tiny_config("deepseek_v3", rope_parameters={"rope_type": "default", "rope_theta": 1e4} | KEYS))
    before = logits(model)
    patch_model(model, YaRN(4)).save_pretrained(tmp_path)
    reloaded = type(model).from_pretrained(tmp_path).eval()
    held = logits(reloaded)
    with patched(reloaded, "linear", factor=2):
        assert not torch.equal(logits(reloaded), held)
    assert torch.equal(logits(reloaded), held)
    assert torch.equal(logits(unpatch_model(reloaded)), before)


def test_a_scale_that_something_else_has_set_is_found_out() -> None:
    model = scaled_checkpoint("deepseek_v3")
    model.get_submodule("model.layers.0.self_attn").scaling = 0.5
    before = everything(model)
    with pytest.raises(ValueError, match=r"layers.0.self_attn.scaling is 0.5, where its config gives"):
        patch_model(model, "yarn", factor=8, on_scaled="replace")
    assert same(everything(model), before)


@pytest.mark.parametrize("scheme", ["linear", "ntk", "yarn", "llama3", "ntk-by-parts"])
def test_a_temperature_by_position_keeps_its_own_length(scheme: str) -> None:
    parameters = {"rope_type": "default", "rope_theta": 1e4, "original_max_position_embeddings": TRAINED // 2}
    model = tiny_model(tiny_config("ministral3", rope_parameters=parameters | {"llama_4_scaling_beta": 0.5}))
    patch_model(model, scheme, factor=2)
    said = model.config.rope_parameters
    assert said["llama_4_scaling_beta"] == 0.5
    assert said["original_max_position_embeddings"] == TRAINED // 2
    with_less = logits(model)
    said["llama_4_scaling_beta"] = 0.0
    assert not torch.equal(logits(model), with_less), "the temperature is read in every forward"


def test_phimoe_multiplies_by_its_own_keys() -> None:
    parameters = {
        "rope_type": "longrope",
        "rope_theta": 1e4,
        "original_max_position_embeddings": TRAINED // 4,
        "factor": 4.0,
        "short_factor": [1.0] * 8,
        "long_factor": [1.5] * 8,
        "short_mscale": 1.25,
        "long_mscale": 1.25,
    }
    model = tiny_model(tiny_config("phimoe", rope_parameters=parameters))
    patch_model(model, "linear", factor=2, on_scaled="compose")
    cos, _ = model.get_submodule("model.rotary_emb")(torch.zeros(1, 1, 1), torch.zeros(1, 1, dtype=torch.long))
    assert cos.max() == pytest.approx(1.25)
    assert describe(model).factor == 2
