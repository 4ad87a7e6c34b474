"""Architectures whose layers differ: layer types, copied configs, NoPE, partial and proportional rotation."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from rope_scaling import describe, patch_model, patched, unpatch_model
from tests.architectures.matrix import everything, logits, same
from tests.architectures.shrink import TRAINED, tiny_config, tiny_model

PER_LAYER_TYPE = ["gemma3_text", "modernbert-decoder", "olmo3"]
# model type -> share of a head's dimensions that turn
PARTIAL = {"gpt_neox": 0.25, "stablelm": 0.25, "phi": 0.5, "glm": 0.5, "nemotron": 0.5, "gpt_oss": 1.0, "cohere": 1.0}


def inv_freq(model: nn.Module, layer_type: str | None = None) -> Tensor:
    name = "inv_freq" if layer_type is None else f"{layer_type}_inv_freq"
    module = next(m for n, m in model.named_modules() if n.endswith(("rotary_emb", "rotary_embs.0")))
    return module.get_buffer(name).double()


def series(theta: float, dim: int) -> Tensor:
    return theta ** (-torch.arange(0, dim, 2, dtype=torch.float64) / dim)


@pytest.mark.parametrize("model_type", PER_LAYER_TYPE)
def test_the_layer_types_asked_for_are_scaled_and_no_others(model_type: str) -> None:
    kinds = ("full_attention", "sliding_attention")
    model = tiny_model(tiny_config(model_type))
    before = {kind: inv_freq(model, kind).clone() for kind in kinds}
    for asked, scaled in [(None, kinds[:1]), (kinds[:1], kinds[:1]), (kinds[1:], kinds[1:]), (kinds, kinds)]:
        with patched(model, "linear", factor=2, layer_types=asked):
            for kind in kinds:
                assert torch.equal(inv_freq(model, kind), before[kind] / (2 if kind in scaled else 1))
            assert sorted(describe(model).layer_types) == sorted(scaled)


def test_the_record_keeps_the_layer_types(tmp_path: Path) -> None:
    model = patch_model(tiny_model(tiny_config("gemma3_text")), "linear", layer_types=("sliding_attention",))
    model.save_pretrained(tmp_path)
    reloaded = patch_model(type(model).from_pretrained(tmp_path).eval())
    assert describe(reloaded).layer_types == ["sliding_attention"]
    assert torch.equal(logits(reloaded), logits(model))


@pytest.mark.parametrize(
    ("model_type", "asked", "message"),
    [
        ("gemma3_text", ("ful_attention",), r"no 'ful_attention' with a RoPE of its own \(.*full_attention.*\)"),
        ("llama", ("full_attention",), "all layers of this model share one RoPE"),
        ("gemma3_text", "full_attention", "must be a tuple of names"),
        ("gemma3_text", (), "must be a tuple of names"),
    ],
)
def test_impossible_layer_types_are_refused(model_type: str, asked: tuple[str, ...], message: str) -> None:
    model = tiny_model(tiny_config(model_type))
    before = everything(model)
    with pytest.raises(ValueError, match=message):
        patch_model(model, "linear", layer_types=asked)
    assert same(everything(model), before)


def two_thetas() -> PreTrainedModel:
    """Layers of two thetas and one without rotation; each theta's module reads a copy of the config."""
    kinds = ["sliding_attention", "full_attention", "full_attention"]
    model = tiny_model(
        tiny_config("granite_swa", num_hidden_layers=3, layer_types=kinds, layer_rope_theta=[1e4, 1e5, 0])
    )
    assert len(model.model.rotary_embs) == 2
    return model


@pytest.mark.parametrize("scheme", ["linear", "ntk", "yarn", "llama3"])
def test_every_copy_of_a_config_is_patched_for_its_own_theta(scheme: str, tmp_path: Path) -> None:
    model = two_thetas()
    before, state = logits(model), everything(model)
    copies = [module.config for module in model.model.rotary_embs]
    patch_model(model, scheme, factor=2)
    for theta, module in zip((1e4, 1e5), model.model.rotary_embs, strict=True):
        alone = tiny_model(tiny_config("llama", rope_parameters={"rope_type": "default", "rope_theta": theta}))
        alone = patch_model(alone, scheme, factor=2)
        assert torch.allclose(module.get_buffer("inv_freq").double(), inv_freq(alone), rtol=1e-6, atol=0)
    after = logits(model)
    model.save_pretrained(tmp_path)
    reloaded = type(model).from_pretrained(tmp_path).eval()
    assert torch.equal(logits(reloaded), after)
    assert torch.equal(logits(unpatch_model(reloaded)), before)
    with patched(model, "linear", factor=4):
        pass
    assert torch.equal(logits(model), after)
    unpatch_model(model)
    assert torch.equal(logits(model), before)
    assert same(everything(model), state)
    assert all(module.config is copy for module, copy in zip(model.model.rotary_embs, copies, strict=True))


def test_divisors_of_one_theta_do_not_stand_for_another() -> None:
    model = two_thetas()
    before = everything(model)
    with pytest.raises(ValueError, match="cannot be told scheme 'ntk-by-parts'"):
        patch_model(model, "ntk-by-parts", factor=2)
    assert same(everything(model), before)


@pytest.mark.parametrize("model_type", PARTIAL)
def test_the_part_of_a_head_that_turns_is_scaled(model_type: str) -> None:
    model = tiny_model(tiny_config(model_type))
    theta, dim = model.config.rope_parameters["rope_theta"], int(16 * PARTIAL[model_type])
    patch_model(model, "linear", factor=2)
    assert torch.allclose(inv_freq(model), series(theta, dim) / 2, rtol=1e-6, atol=0)


@pytest.mark.parametrize("scheme", ["linear", "ntk", "yarn"])
def test_layers_without_rotation_are_left_alone(scheme: str) -> None:
    model = tiny_model(tiny_config("smollm3", no_rope_layers=[0, 0], num_hidden_layers=2))
    before = logits(model)
    patch_model(model, scheme, factor=2)
    assert torch.equal(logits(model), before)


def test_llama4_keeps_its_temperature_and_its_layers_without_rotation() -> None:
    config = tiny_config("llama4_text", floor_scale=8, attn_scale=0.5)
    assert 0 in config.no_rope_layers
    model = tiny_model(config)
    patch_model(model, "linear", factor=2)
    held = logits(model)
    assert all(
        not m.attn_temperature_tuning or m.attn_scale == 0.5 for n, m in model.named_modules() if n.endswith("attn")
    )
    unpatch_model(model)
    assert not torch.equal(logits(model), held)


def test_recurrent_gemma_needs_to_be_told_its_length() -> None:
    model = tiny_model(tiny_config("recurrent_gemma", max_position_embeddings=None))
    before = logits(model)
    with pytest.raises(ValueError, match="has no max_position_embeddings"):
        patch_model(model, "linear", factor=2)
    model.config.max_position_embeddings = TRAINED
    patch_model(model, "ntk", factor=2)
    assert not torch.equal(logits(model), before)
    assert torch.equal(logits(unpatch_model(model)), before)


@pytest.mark.parametrize("model_type", ["gemma4_text", "gemma4_unified_text", "lfm3"])
@pytest.mark.parametrize("scheme", ["linear", "ntk"])
def test_proportional_layers_scale_the_pairs_that_turn(model_type: str, scheme: str) -> None:
    model = tiny_model(tiny_config(model_type))
    trained = inv_freq(model, "full_attention").clone()
    turning = int(trained.count_nonzero())
    assert 1 < turning < len(trained)
    patch_model(model, scheme, factor=2)
    index = torch.arange(turning, dtype=torch.float64)
    divisors = torch.full_like(index, 2.0) if scheme == "linear" else 2 ** (index / (turning - 1))
    live = inv_freq(model, "full_attention")
    assert torch.allclose(live[:turning], trained[:turning] / divisors, rtol=1e-6, atol=0)
    assert not live[turning:].any()
    assert live[turning - 1] == pytest.approx(float(trained[turning - 1]) / 2, rel=1e-6), (
        "the slowest turns half as fast"
    )
