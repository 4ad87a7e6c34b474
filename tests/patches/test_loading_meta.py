"""Models made without numbers: their frequencies come with the first device that holds any, or it is an error."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from accelerate import init_empty_weights
from transformers import AutoModelForCausalLM, PreTrainedModel

from rope_scaling import describe, patch_model, patched, unpatch_model
from tests.models import ARCHITECTURES, TRAINED, logits, tiny_config, tiny_gemma3, tiny_model
from tests.patches.state import assert_same, everything, rotary
from tests.patches.twins import IDS, patched_yarn, twin_of_patched


def empty_model(model_type: str = "llama") -> PreTrainedModel:
    with torch.device("meta"):
        model: PreTrainedModel = AutoModelForCausalLM.from_config(tiny_config(model_type))
    return model.eval()


def fill(model: PreTrainedModel, model_type: str = "llama") -> PreTrainedModel:
    """Give a model memory that holds anything, and then its weights."""
    model.to_empty(device="cpu").load_state_dict(tiny_model(model_type).state_dict())
    return model


def nothing_like(module: torch.nn.Module, number: float) -> None:
    """What `to_empty` may leave: memory that others have written to."""
    for buffer in module.buffers():
        buffer.fill_(number)


@pytest.mark.parametrize("scheme", ["ntk", "yarn", "ntk-by-parts", "llama3"])
@pytest.mark.parametrize("model_type", ["llama", "phi3", "mixtral", "stablelm"])
def test_a_model_patched_without_numbers_gets_them_with_its_weights(model_type: str, scheme: str) -> None:
    model = fill(patch_model(empty_model(model_type), scheme, factor=4), model_type)
    assert torch.equal(logits(model, IDS), logits(patch_model(tiny_model(model_type), scheme, factor=4), IDS))
    unpatched = unpatch_model(model)
    assert torch.equal(logits(unpatched, IDS), logits(tiny_model(model_type), IDS))


def test_a_filled_model_is_its_native_twin_also_when_copied_and_cast_on_the_way() -> None:
    model = copy.deepcopy(patched_yarn(empty_model())).to(torch.bfloat16).float()
    assert torch.equal(logits(fill(model), IDS), logits(twin_of_patched(), IDS))


def test_a_model_with_a_rope_for_each_layer_type_gets_both_back() -> None:
    layers = ["sliding_attention", "full_attention"]
    model = patch_model(tiny_gemma3(layers), "linear", factor=2)
    meant = {name: buffer.clone() for name, buffer in rotary(model).named_buffers()}
    model.to("meta").to_empty(device="cpu")
    assert meant.keys() == dict(rotary(model).named_buffers()).keys()
    assert all(torch.equal(buffer, meant[name]) for name, buffer in rotary(model).named_buffers())


@pytest.mark.parametrize(
    "lose",
    [
        lambda model: model.to("meta").to_empty(device="cpu"),
        lambda model: model.to_empty(device="cpu"),
        lambda model: model.to("meta").to_empty(device="meta").to_empty(device="cpu"),
    ],
    ids=["to meta and back", "emptied", "twice"],
)
@pytest.mark.parametrize("model_type", ARCHITECTURES)
def test_a_patched_model_that_loses_its_numbers_gets_its_frequencies_back(
    model_type: str, lose: Callable[[PreTrainedModel], PreTrainedModel]
) -> None:
    model = patch_model(tiny_model(model_type), "ntk-by-parts", factor=4)
    meant = {name: buffer.clone() for name, buffer in rotary(model).named_buffers()}
    live = dict(rotary(lose(model)).named_buffers())
    assert all(torch.equal(live[name], buffer) for name, buffer in meant.items())


@pytest.mark.parametrize("number", [0.0, float("nan"), 1e-38, 0.3])
def test_a_model_filled_before_patching_is_refused_and_untouched(number: float) -> None:
    model = empty_model().to_empty(device="cpu")
    nothing_like(rotary(model), number)
    before = everything(model)
    with pytest.raises(ValueError, match=r"to_empty left it without numbers.*patch on the meta device"):
        patch_model(model, "ntk")
    after = everything(model)
    for state in (before, after):
        state["buffers"] = {name: torch.nan_to_num(buffer, 7.0) for name, buffer in state["buffers"].items()}
    assert_same(after, before)


@pytest.mark.parametrize("patch_first", [True, False])
def test_init_empty_weights_keeps_frequencies_and_can_be_patched(patch_first: bool) -> None:
    with init_empty_weights():
        model = AutoModelForCausalLM.from_config(tiny_config()).eval()
    if patch_first:
        patched_yarn(model)
    model.load_state_dict(tiny_model().state_dict(), assign=True)
    if not patch_first:
        patched_yarn(model)
    assert torch.equal(logits(model, IDS), logits(twin_of_patched(), IDS))


def test_init_empty_weights_with_buffers_is_as_good_as_the_meta_device() -> None:
    with init_empty_weights(include_buffers=True):
        model = AutoModelForCausalLM.from_config(tiny_config()).eval()
    assert rotary(model).get_buffer("inv_freq").is_meta
    assert torch.equal(logits(fill(patched_yarn(model)), IDS), logits(twin_of_patched(), IDS))


def test_undoing_without_numbers_leaves_a_model_without_numbers() -> None:
    model = empty_model()
    unpatch_model(patched_yarn(model))
    assert rotary(model).get_buffer("inv_freq").is_meta
    assert describe(model).scheme is None
    assert describe(model).max_length == TRAINED


def test_a_block_may_fill_the_model() -> None:
    model = empty_model()
    with patched(model, "yarn", factor=4):
        assert torch.equal(logits(fill(model), IDS), logits(twin_of_patched(), IDS))
    assert torch.equal(logits(model, IDS), logits(tiny_model(), IDS))


def test_describe_speaks_of_a_model_without_numbers() -> None:
    assert "not patched: 64 -> 64 tokens" in str(describe(empty_model()))
    told = describe(patched_yarn(empty_model()))
    assert (told.max_length, told.rounded) == (4 * TRAINED, [])
