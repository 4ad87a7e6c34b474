"""Quantised models: int8 weights by torchao, and weights read from a GGUF file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torchao.quantization import Int8WeightOnlyConfig, quantize_
from transformers import AutoModelForCausalLM, PreTrainedModel, TorchAoConfig

from rope_scaling import patch_model, unpatch_model
from tests.models import TRAINED, logits, tiny_model
from tests.patches.gguf_file import write_gguf
from tests.patches.twins import FACTOR, IDS, patched_yarn, twin_of_patched


def quantized(model: PreTrainedModel) -> PreTrainedModel:
    quantize_(model, Int8WeightOnlyConfig())
    assert "Int8" in type(model.get_submodule("model.layers.0.mlp.up_proj").weight).__name__
    return model


def test_an_int8_model_can_be_patched_and_undone() -> None:
    model = patched_yarn(quantized(tiny_model()))
    assert torch.equal(logits(model, IDS), logits(quantized(twin_of_patched()), IDS))
    assert torch.equal(logits(unpatch_model(model), IDS), logits(quantized(tiny_model()), IDS))


def test_a_patched_model_can_be_quantized_to_int8() -> None:
    model = quantized(patched_yarn())
    assert torch.equal(logits(model, IDS), logits(quantized(twin_of_patched()), IDS))
    assert not torch.equal(logits(model, IDS), logits(twin_of_patched(), IDS)), "nothing was quantised"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_checkpoint_quantized_while_loading_can_be_patched(dtype: torch.dtype, tmp_path: Path) -> None:
    tiny_model().save_pretrained(tmp_path / "plain")
    twin_of_patched().save_pretrained(tmp_path / "twin")
    how: dict[str, Any] = {"quantization_config": TorchAoConfig(Int8WeightOnlyConfig()), "dtype": dtype}
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "plain", **how)
    twin = AutoModelForCausalLM.from_pretrained(tmp_path / "twin", **how)
    assert "Int8" in type(model.get_submodule("model.layers.0.mlp.up_proj").weight).__name__
    assert torch.equal(logits(patched_yarn(model), IDS), logits(twin, IDS))


@pytest.mark.parametrize("weights", ["F32", "Q8_0"])
def test_a_model_read_from_a_gguf_file_can_be_patched_and_undone(weights: str, tmp_path: Path) -> None:
    write_gguf(tiny_model(), tmp_path / "tiny.gguf", weights)
    model = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="tiny.gguf", dtype=torch.float32)
    assert model.config.max_position_embeddings == TRAINED
    plain, twin = logits(model, IDS), twin_of_patched()
    assert torch.allclose(plain, logits(tiny_model(), IDS), atol=1e-4 if weights == "F32" else 1.0)
    twin.load_state_dict(model.state_dict())
    patch_model(model, "yarn", factor=FACTOR)
    assert torch.equal(logits(model, IDS), logits(twin, IDS))
    assert torch.equal(logits(unpatch_model(model), IDS), plain)
