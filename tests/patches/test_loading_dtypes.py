"""Loaded in any dtype, cast before or after: a patched model has exact frequencies and is its native twin."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from rope_scaling import Rope, YaRN, describe, patch_model, patched, unpatch_model
from tests.models import ARCHITECTURES, TRAINED, logits, tiny_model
from tests.patches.state import rotary
from tests.patches.twins import FACTOR, IDS, patched_yarn, twin_of_patched

CASTS: dict[str, Callable[[Any], PreTrainedModel]] = {
    "to(bfloat16)": lambda model: model.to(torch.bfloat16),
    "half": lambda model: model.half(),
    "double": lambda model: model.double(),
    "half and back": lambda model: model.half().float(),
}


def patch_quietly(model: PreTrainedModel) -> PreTrainedModel:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of rounded frequencies, which have a test of their own
        return patch_model(model, "yarn", factor=FACTOR)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, "auto"])
@pytest.mark.parametrize("model_type", ["llama", "qwen3", "gpt_neox"])
def test_from_pretrained_in_any_dtype_is_the_native_twin(model_type: str, dtype: Any, tmp_path: Path) -> None:
    twin_of_patched(model_type).to(torch.bfloat16).save_pretrained(tmp_path / "twin")
    tiny_model(model_type).to(torch.bfloat16).save_pretrained(tmp_path / "plain")
    plain, twin = (AutoModelForCausalLM.from_pretrained(tmp_path / name, dtype=dtype) for name in ("plain", "twin"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing is rounded by loading
        patch_model(plain, "yarn", factor=FACTOR)
    assert plain.dtype == (torch.bfloat16 if dtype == "auto" else dtype)
    assert torch.equal(logits(plain, IDS), logits(twin, IDS))


@pytest.mark.parametrize("cast", CASTS)
@pytest.mark.parametrize("model_type", ["llama", "gpt_neox", "qwen3"])
def test_casting_before_or_after_is_the_native_twin_with_exact_frequencies(model_type: str, cast: str) -> None:
    twin, exact = CASTS[cast](twin_of_patched(model_type)), rotary(twin_of_patched(model_type))
    for name, buffer in exact.named_buffers():
        rotary(twin)._buffers[name] = buffer
    after, before = CASTS[cast](patched_yarn(model_type)), patch_quietly(CASTS[cast](tiny_model(model_type)))
    assert torch.equal(logits(after, IDS), logits(twin, IDS))
    assert torch.equal(logits(before, IDS), logits(twin, IDS))
    assert describe(after).rounded == describe(before).rounded == []


@pytest.mark.parametrize("cast", CASTS)
@pytest.mark.parametrize("model_type", ARCHITECTURES)
def test_far_angles_survive_a_cast(model_type: str, cast: str) -> None:
    far = 32767
    module = rotary(CASTS[cast](patched_yarn(model_type)))
    config = tiny_model(model_type).config
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    rotary_dim = int(head_dim * config.rope_parameters.get("partial_rotary_factor", 1.0))
    scaled = YaRN(FACTOR)(Rope.plain(config.rope_parameters["rope_theta"], rotary_dim, TRAINED))
    cos, _ = module(torch.zeros(1, 1, 1), torch.tensor([[far]]))  # (1, 1, rotary_dim)
    meant = (far * torch.tensor(scaled.inv_freq, dtype=torch.float64)).cos() * scaled.attention_factor
    # float32 keeps an angle of 32767 within 2e-3; a bfloat16 frequency would miss by whole turns
    assert (cos[0, 0, : len(meant)].double() - meant).abs().max() < 5e-3


@pytest.mark.parametrize("cast", ["to(bfloat16)", "half", "half and back"])
def test_a_rounded_model_is_said_to_be_so_and_mended(cast: str) -> None:
    model = CASTS[cast](tiny_model())
    rounded = rotary(model).get_buffer("inv_freq").clone()
    assert "rounded frequencies in model.rotary_emb.inv_freq" in str(describe(model))
    with pytest.warns(UserWarning, match=r"model.rotary_emb.inv_freq had been rounded by a cast") as caught:
        patch_model(model, "linear", factor=2)
    assert caught[0].filename == __file__
    assert torch.equal(rotary(model).get_buffer("inv_freq"), rotary(tiny_model()).get_buffer("inv_freq") / 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # there is nothing left to mend
        patch_model(model, "linear", factor=4)
    assert torch.equal(rotary(unpatch_model(model)).get_buffer("inv_freq"), rounded)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_the_default_dtype_does_not_reach_the_frequencies(dtype: torch.dtype) -> None:
    model = tiny_model()
    torch.set_default_dtype(dtype)
    try:
        patched_yarn(model)
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(logits(model, IDS), logits(twin_of_patched(), IDS))


def test_a_model_patched_in_inference_mode_can_be_trained() -> None:
    model = tiny_model()
    with torch.inference_mode():
        patched_yarn(model)
    assert not any(buffer.is_inference() for buffer in rotary(model).buffers())
    model(IDS, labels=IDS).loss.backward()
    twin = twin_of_patched()
    twin(IDS, labels=IDS).loss.backward()
    pairs = zip(model.parameters(), twin.parameters(), strict=True)
    assert all(torch.equal(ours.grad, theirs.grad) for ours, theirs in pairs)


def test_casting_within_a_block_leaves_rounded_what_was_rounded_and_exact_what_was_exact() -> None:
    model = tiny_model()
    exact = rotary(model).get_buffer("inv_freq").clone()
    with patched(model, "yarn", factor=FACTOR):
        model.to(torch.bfloat16)
    assert torch.equal(rotary(model).get_buffer("inv_freq"), exact)
