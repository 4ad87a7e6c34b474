"""The doctor on loaded models."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from rope_scaling import patch_model
from rope_scaling.doctor import Finding, Severity
from rope_scaling.patches.inspect_model import facts_of_model, inspect_model
from tests.models import TRAINED, tiny_config, tiny_gemma3, tiny_model
from tests.patches.state import assert_same, everything


def above_notes(found: list[Finding]) -> list[str]:
    return [one.code for one in found if one.severity is not Severity.NOTE]


@pytest.mark.parametrize("model_type", ["llama", "phi3", "mixtral", "gpt_neox", "smollm3", "stablelm"])
def test_a_sound_model_is_sound_patched_or_not(model_type: str) -> None:
    model = tiny_model(model_type)
    before = everything(model)
    assert inspect_model(model) == []
    assert_same(everything(model), before)
    patch_model(model, "yarn", factor=4)
    assert above_notes(inspect_model(model)) == []


def test_a_model_with_several_layer_types_is_sound() -> None:
    model = tiny_gemma3(["sliding_attention", "full_attention"])
    assert inspect_model(model) == []
    patch_model(model, "linear", factor=4)
    assert above_notes(inspect_model(model)) == []


def test_a_cast_model_is_off_by_what_bfloat16_loses() -> None:
    model = tiny_model("llama")
    exact = model.model.rotary_emb.inv_freq.double()
    (found,) = inspect_model(model.to(torch.bfloat16), max_length=32768)
    assert found.code == "rounded-frequencies"
    turns = float((exact - exact.bfloat16().double()).abs().max()) * 32768 / (2 * math.pi)
    assert found.symptom.evidence["turns"] == pytest.approx(turns)


def test_an_edited_config_is_told_by_the_live_frequencies() -> None:
    model = tiny_model("llama")
    model.config.rope_parameters = {"rope_type": "linear", "factor": 4.0, "rope_theta": 1e4}
    found = next(one for one in inspect_model(model) if one.code == "live-frequencies")
    assert found.symptom.evidence["ratio"] == pytest.approx(4)


def test_a_length_that_is_wished_for_is_held_against_the_limits() -> None:
    model = tiny_model("llama")
    model.generation_config.max_length = TRAINED
    assert [one.code for one in inspect_model(model, max_length=4 * TRAINED)] == ["generation-limit"]


def test_a_model_on_the_meta_device_has_no_frequencies_to_be_wrong() -> None:
    with torch.device("meta"):
        model = tiny_model(tiny_config("llama"))
    facts = facts_of_model(model)
    assert facts.live is not None
    assert not facts.live.inv_freq


def test_what_has_no_rope_is_refused() -> None:
    with pytest.raises(TypeError, match="no rotary"):
        inspect_model(nn.Linear(2, 2))
