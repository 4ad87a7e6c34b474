"""Models that accelerate has spread over devices, or whose weights it fetches as they are needed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import cpu_offload, disk_offload, dispatch_model
from accelerate.hooks import remove_hook_from_submodules
from transformers import AutoModelForCausalLM, PreTrainedModel

from rope_scaling import describe, patch_model, patched, unpatch_model
from tests.models import logits, tiny_model
from tests.patches.state import assert_same, everything, rotary
from tests.patches.twins import IDS, patched_yarn, twin_of_patched

CPU = torch.device("cpu")
Offload = Callable[[PreTrainedModel, Path], PreTrainedModel]

_LAYERS_ON_DISK = {
    "model.embed_tokens": "cpu",
    "model.layers.0": "disk",
    "model.layers.1": "cpu",
    "model.norm": "cpu",
    "model.rotary_emb": "disk",
    "lm_head": "disk",
}


def dispatched(device_map: dict[str, str], **options: Any) -> Offload:
    def offload(model: PreTrainedModel, folder: Path) -> PreTrainedModel:
        return dispatch_model(
            model, device_map, main_device="cpu", offload_dir=folder, offload_buffers=True, force_hooks=True, **options
        )

    return offload


OFFLOADS: dict[str, Offload] = {
    "cpu and disk": dispatched(_LAYERS_ON_DISK),
    "disk": dispatched({"model": "disk", "lm_head": "disk"}),
    "whole layers at a time": dispatched(_LAYERS_ON_DISK, preload_module_classes=["LlamaDecoderLayer"]),
    "cpu_offload": lambda model, _: cpu_offload(model, CPU, offload_buffers=True),
    "disk_offload": lambda model, folder: disk_offload(model, folder, CPU, offload_buffers=True),
}


@pytest.mark.parametrize("offload", OFFLOADS)
def test_an_offloaded_model_can_be_patched_and_undone(offload: str, tmp_path: Path) -> None:
    model = OFFLOADS[offload](tiny_model(), tmp_path)
    before = everything(model)
    patched_yarn(model)
    assert any(weight.is_meta for weight in model.parameters()), "nothing was offloaded"
    assert torch.equal(logits(model, IDS), logits(twin_of_patched(), IDS))
    assert_same(everything(unpatch_model(model)), before)
    assert torch.equal(logits(model, IDS), logits(tiny_model(), IDS))


@pytest.mark.parametrize("offload", OFFLOADS)
def test_a_patched_model_can_be_offloaded_patched_again_and_undone(offload: str, tmp_path: Path) -> None:
    model = OFFLOADS[offload](patched_yarn(), tmp_path)
    assert torch.equal(logits(model, IDS), logits(twin_of_patched(), IDS))
    patch_model(model, "linear", factor=2)
    assert torch.equal(logits(model, IDS), logits(patch_model(tiny_model(), "linear", factor=2), IDS))
    assert torch.equal(logits(unpatch_model(model), IDS), logits(tiny_model(), IDS))


def test_a_device_map_that_overflows_to_disk_can_be_patched(tmp_path: Path) -> None:
    tiny_model().save_pretrained(tmp_path / "plain")
    model = AutoModelForCausalLM.from_pretrained(
        tmp_path / "plain", device_map="auto", max_memory={"cpu": 220_000}, offload_folder=tmp_path / "spill"
    )
    assert set(model.hf_device_map.values()) == {"cpu", "disk"}
    assert torch.equal(logits(patched_yarn(model), IDS), logits(twin_of_patched(), IDS))


def test_a_device_map_on_one_device_can_be_patched(tmp_path: Path) -> None:
    tiny_model().save_pretrained(tmp_path)
    model = AutoModelForCausalLM.from_pretrained(tmp_path, device_map="auto")
    assert torch.equal(logits(patched_yarn(model), IDS), logits(twin_of_patched(), IDS))


def test_the_patched_forward_is_the_one_that_hooks_call() -> None:
    # Transformers' own forward of a longrope module writes into its buffer each time; the patched one does not
    model = patch_model(cpu_offload(tiny_model(), CPU, offload_buffers=True), "ntk-by-parts", factor=4)
    buffer = rotary(model).get_buffer("inv_freq")
    written = buffer._version
    out = logits(model, IDS)
    assert rotary(model).get_buffer("inv_freq") is buffer
    assert buffer._version == written
    assert torch.equal(out, logits(patch_model(tiny_model(), "ntk-by-parts", factor=4), IDS))


@pytest.mark.parametrize("hooked_first", [True, False])
def test_hooks_may_be_taken_off_between_patching_and_undoing(hooked_first: bool) -> None:
    model = tiny_model()
    if hooked_first:
        patched_yarn(cpu_offload(model, CPU))
    else:
        cpu_offload(patched_yarn(model), CPU)
    remove_hook_from_submodules(model)
    assert torch.equal(logits(model, IDS), logits(twin_of_patched(), IDS))
    unpatch_model(model)
    assert torch.equal(logits(model, IDS), logits(tiny_model(), IDS))
    held = vars(rotary(model)).get("forward")
    assert held is None or held.__func__ is type(rotary(model)).forward


def test_a_block_around_an_offloaded_model_gives_it_back() -> None:
    model = cpu_offload(tiny_model(), CPU, offload_buffers=True)
    before = everything(model)
    with patched(model, "yarn", factor=4):
        assert describe(model).factor == 4
        assert torch.equal(logits(model, IDS), logits(twin_of_patched(), IDS))
    assert_same(everything(model), before)
