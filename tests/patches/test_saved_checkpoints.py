"""What a saved patched checkpoint carries, and what a reloaded one can do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from rope_scaling import NTK, YaRN, describe, patch_model, patched, unpatch_model
from tests.models import TRAINED, logits, tiny_model
from tests.patches.state import assert_same, everything


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    patch_model(tiny_model(), "ntk", factor=4).save_pretrained(tmp_path)
    return tmp_path


def test_a_saved_checkpoint_carries_the_record(saved: Path) -> None:
    record = json.loads((saved / "config.json").read_text())["rope_scaling_patch"]
    assert record["scheme"] == "ntk"
    assert record["options"] == {"factor": 4.0}
    assert record["before"]["max_position_embeddings"] == TRAINED


def test_a_reloaded_checkpoint_is_known_to_be_patched_and_can_be_undone(saved: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(saved)
    assert describe(model).scheme == NTK(4.0)
    unpatch_model(model)
    assert torch.equal(logits(model), logits(tiny_model()))
    assert model.config.rope_parameters == {"rope_theta": 1e4, "rope_type": "default"}
    assert not hasattr(model.config, "rope_scaling_patch")
    assert model.config.max_position_embeddings == TRAINED


def test_a_reloaded_checkpoint_is_patched_again_without_compounding(saved: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(saved)
    same = logits(model)
    assert torch.equal(logits(patch_model(model)), same)
    patch_model(model, "yarn", factor=2)
    assert torch.equal(logits(model), logits(patch_model(tiny_model(), "yarn", factor=2)))


def test_patching_around_a_reloaded_checkpoint_gives_it_back(saved: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(saved)
    before = everything(model)
    with patched(model, "yarn", factor=2):
        assert describe(model).scheme == YaRN(2.0)
    assert_same(everything(model), before)
