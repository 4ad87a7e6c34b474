"""Checkpoints that are scaled already."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from rope_scaling import describe, patch_model, unpatch_model
from tests.models import TRAINED, logits, tiny_config, tiny_model, tokens
from tests.patches.state import assert_same, everything, rotary

LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 1e4,
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}


def test_an_already_scaled_checkpoint_is_refused_with_both_ways_out() -> None:
    model = tiny_model(tiny_config(rope_parameters=dict(LLAMA3)))
    before = everything(model)
    with pytest.raises(ValueError, match=r"scaled already .*'llama3'.*on_scaled='compose'.*on_scaled='replace'"):
        patch_model(model, "yarn")
    assert_same(everything(model), before)


@pytest.mark.parametrize(
    "parameters",
    [
        {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0},
        {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0},
        {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 16},
    ],
)
def test_every_kind_of_scaled_checkpoint_is_refused(parameters: dict[str, Any]) -> None:
    model = tiny_model(tiny_config(rope_parameters=parameters))
    with pytest.raises(ValueError, match="scaled already"):
        patch_model(model, "ntk")


def test_composing_scales_the_trained_frequencies_from_the_declared_length(tmp_path: Path) -> None:
    model = tiny_model(tiny_config(rope_parameters=dict(LLAMA3)))
    trained = rotary(model).get_buffer("inv_freq").clone()
    patch_model(model, "linear", factor=2, on_scaled="compose")
    live = rotary(model).get_buffer("inv_freq")
    assert torch.allclose(live, trained / 2, rtol=1e-6)
    told = describe(model)
    assert (told.original_max_position_embeddings, told.max_length) == (TRAINED, 2 * TRAINED)
    model.save_pretrained(tmp_path)
    assert torch.equal(logits(AutoModelForCausalLM.from_pretrained(tmp_path)), logits(model))
    assert torch.equal(rotary(unpatch_model(model)).get_buffer("inv_freq"), trained)


def test_composing_multiplies_attention_factors() -> None:
    yarn = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 16}
    model = tiny_model(tiny_config(rope_parameters=yarn))
    factor = rotary(model).attention_scaling
    patch_model(model, "yarn", factor=2, on_scaled="compose")
    assert rotary(model).attention_scaling == pytest.approx(factor * (0.1 * 0.6931471805599453 + 1))


def test_replacing_starts_from_the_plain_frequencies() -> None:
    model = tiny_model(tiny_config(rope_parameters=dict(LLAMA3)))
    patch_model(model, "ntk", factor=2, on_scaled="replace")
    expected = patch_model(tiny_model(tiny_config(max_position_embeddings=16)), "ntk", factor=2)
    assert torch.equal(rotary(model).get_buffer("inv_freq"), rotary(expected).get_buffer("inv_freq"))
    assert describe(model).original_max_position_embeddings == 16


def test_original_max_length_overrides_the_config() -> None:
    model = patch_model(tiny_model(), "llama3", factor=4, original_max_length=TRAINED // 2)
    assert model.config.max_position_embeddings == 2 * TRAINED
    assert model.config.rope_parameters["original_max_position_embeddings"] == TRAINED // 2


def switching_longrope() -> dict[str, Any]:
    return {
        "rope_type": "longrope",
        "rope_theta": 1e4,
        "short_factor": [1.0] * 16,
        "long_factor": [1.0 + i for i in range(16)],
        "factor": 4.0,
        "original_max_position_embeddings": 16,
    }


@pytest.mark.parametrize("count", [10, 40])
def test_none_leaves_a_checkpoint_that_switches_lists_as_it_is(count: int, tmp_path: Path) -> None:
    model = tiny_model(tiny_config(rope_parameters=switching_longrope()))
    before = logits(model, tokens(count))
    patch_model(model, "none", on_scaled="compose")
    assert torch.equal(logits(model, tokens(count)), before)
    assert torch.equal(logits(copy.deepcopy(model), tokens(count)), before)
    model.save_pretrained(tmp_path)
    assert torch.equal(logits(AutoModelForCausalLM.from_pretrained(tmp_path), tokens(count)), before)
    assert torch.equal(logits(unpatch_model(model), tokens(count)), before)


def test_none_cannot_raise_the_length_of_a_checkpoint_that_switches_lists() -> None:
    model = tiny_model(tiny_config(rope_parameters=switching_longrope()))
    with pytest.raises(ValueError, match="so its length cannot be raised"):
        patch_model(model, "none", factor=2, on_scaled="compose")


def test_composing_on_longrope_takes_the_long_list_at_every_length() -> None:
    model = tiny_model(tiny_config(rope_parameters=switching_longrope()))
    patch_model(model, "linear", factor=2, on_scaled="compose")
    live = rotary(model).get_buffer("inv_freq")
    long = torch.tensor([1e4 ** (-2 * i / 32) / (1 + i) / 2 for i in range(16)])
    assert torch.allclose(live, long, rtol=1e-6, atol=0)
    logits(model, tokens(40))
    assert torch.allclose(live, long, rtol=1e-6, atol=0)
