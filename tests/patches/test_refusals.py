"""What patching refuses, with the reason and without touching anything."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from rope_scaling import YaRN, patch_model, unpatch_model
from tests.models import tiny_config, tiny_gemma3, tiny_model
from tests.patches.state import assert_same, everything, rotary


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"scheme": "nkt"}, ValueError, "unknown scheme 'nkt': did you mean 'ntk'"),
        ({}, ValueError, "no scheme was given"),
        ({"scheme": 3}, TypeError, "scheme must be a name or a value"),
        ({"scheme": "ntk", "factor": 0.5}, ValueError, "at least 1"),
        ({"scheme": "ntk", "max_length": 10}, ValueError, "at least the trained length 64, got 10"),
        ({"scheme": "ntk", "factor": 2, "max_length": 256}, ValueError, "contradicting factors"),
        ({"scheme": YaRN(4), "factor": 2}, ValueError, "contradicting factors"),
        ({"scheme": "ntk", "original_max_length": -1}, ValueError, "original_max_length must be"),
        ({"scheme": "ntk", "on_scaled": "yes"}, ValueError, "on_scaled must be"),
        ({"scheme": "dynamic"}, ValueError, "breaks a KV cache"),
        ({"scheme": "abf"}, ValueError, "needs theta"),
    ],
)
def test_bad_arguments_leave_the_model_untouched(
    arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    model = tiny_model()
    before = everything(model)
    with pytest.raises(error, match=message):
        patch_model(model, **arguments)
    assert_same(everything(model), before)


@pytest.mark.parametrize("model_type", ["gpt2", "bloom", "opt"])
def test_a_model_without_scalable_rope_is_a_type_error(model_type: str) -> None:
    config = AutoConfig.for_model(
        model_type, vocab_size=97, hidden_size=32, n_embd=32, n_layer=1, num_hidden_layers=1, n_head=2,
        num_attention_heads=2, ffn_dim=32, rotary_dim=8, word_embed_proj_dim=32,
    )  # fmt: skip
    with pytest.raises(TypeError, match="has no rotary position embedding that can be scaled"):
        patch_model(AutoModelForCausalLM.from_config(config), "ntk")


def test_a_checkpoint_folder_is_not_a_model() -> None:
    with pytest.raises(TypeError, match=r"must be a torch.nn.Module, got str"):
        patch_model("some/folder", "ntk")  # type: ignore[type-var]


def test_an_unpatched_model_has_nothing_to_undo() -> None:
    with pytest.raises(ValueError, match="is not patched"):
        unpatch_model(tiny_model())


def test_a_config_edited_after_loading_is_found_out() -> None:
    model = tiny_model()
    model.config.rope_parameters = {"rope_type": "linear", "rope_theta": 1e4, "factor": 8.0}
    with pytest.raises(ValueError, match="does not hold the frequencies that its config gives"):
        patch_model(model, "ntk", on_scaled="replace")


def test_two_models_on_one_config_object_are_found_out() -> None:
    config = tiny_config()
    one, other = tiny_model(config), tiny_model(config)
    patch_model(one, "linear")
    with pytest.raises(ValueError, match="config is shared with a patched model"):
        patch_model(other, "linear")


def test_a_rotary_module_that_is_not_understood_is_named() -> None:
    model = tiny_model()

    class HomeMadeRotary(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("inv_freq", torch.ones(4))

    model.add_module("extra", HomeMadeRotary())
    with pytest.raises(ValueError, match=r"not understood: extra \(HomeMadeRotary\)"):
        patch_model(model, "ntk")


def test_parameters_that_other_parts_of_a_model_read_are_refused() -> None:
    model = tiny_model(tiny_config(rope_parameters={"rope_type": "default", "rope_theta": 1e4, "mystery_beta": 0.1}))
    with pytest.raises(ValueError, match="hold mystery_beta, which other parts"):
        patch_model(model, "ntk")


def test_a_model_of_sliding_windows_only_has_nothing_to_extend() -> None:
    with pytest.raises(ValueError, match="sliding window of 16 tokens"):
        patch_model(tiny_gemma3(["sliding_attention", "sliding_attention"]), "linear")


def test_a_model_that_cannot_be_told_a_scheme_is_refused_with_the_reason() -> None:
    config = tiny_config("recurrent_gemma", block_types=["recurrent", "attention"], lru_width=64)
    model = tiny_model(config)
    before = everything(model)
    with pytest.raises(ValueError, match="recurrent_gemma cannot be told scheme 'yarn' through its config"):
        patch_model(model, "yarn")
    assert_same(everything(model), before)


def test_a_config_that_is_not_the_models_is_refused() -> None:
    model = tiny_model()
    rotary(model).config = tiny_config("llama")
    with pytest.raises(ValueError, match="reads a config that is not the model's"):
        patch_model(model, "ntk")


def test_a_falcon_with_alibi_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="falcon has no RoPE: alibi=True"):
        patch_model(tiny_model(tiny_config("falcon", alibi=True)), "ntk")
