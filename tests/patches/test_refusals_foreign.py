"""Models that another library has changed, or that are patched in one place only: refused, and left as they were."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import MethodType
from typing import Any

import pytest
import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.models.llama import modeling_llama
from transformers.models.llama.modeling_llama import LlamaAttention, LlamaRotaryEmbedding

from rope_scaling import describe, patch_model, unpatch_model
from rope_scaling.record import RECORD
from tests.models import logits, tiny_model
from tests.patches.state import assert_same, everything, rotary


def swapped_forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
    """What Unsloth and Self-Extend put in place of an attention's or a rotary module's own."""
    raise AssertionError("a refused model is not run")


def swapped_rotation(q: torch.Tensor, k: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, **kwargs: Any) -> Any:
    """What Liger puts in place of apply_rotary_pos_emb."""
    return q, k


class UnslothRotary(nn.Module):
    """A rotary class with tables of its own, as fast inference libraries have."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("cos_cached", torch.ones(8, 16), persistent=False)


class FusedAttention(nn.Module):
    """An attention of another library inside a layer of Transformers', as AWQ's fused modules are."""

    def __init__(self, inside: nn.Module) -> None:
        super().__init__()
        self.config = inside.config
        self.rope_table = torch.ones(8, 16)


def by_instance(model: PreTrainedModel) -> None:
    module = model.model.layers[1].self_attn
    module.forward = MethodType(swapped_forward, module)


def on_the_rotary_module(model: PreTrainedModel) -> None:
    module = rotary(model)
    module.forward = MethodType(swapped_forward, module)


def with_an_attention_of_its_own(model: PreTrainedModel) -> None:
    model.model.layers[0].self_attn = FusedAttention(model.model.layers[0].self_attn)


def with_another_rotary_class(model: PreTrainedModel) -> None:
    model.model.rotary_emb = UnslothRotary()


def with_a_derived_rotary_class(model: PreTrainedModel) -> None:
    class FasterRotary(LlamaRotaryEmbedding):
        def forward(self, x: torch.Tensor, position_ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return x, x

    model.model.rotary_emb = FasterRotary(model.config)


def with_other_numbers(model: PreTrainedModel) -> None:
    rotary(model).get_buffer("inv_freq").mul_(0.25)


SWAPS: dict[Callable[[PreTrainedModel], None], str] = {
    by_instance: r"model.layers.1.self_attn \(LlamaAttention\) was changed by another library: its forward comes from",
    on_the_rotary_module: r"model.rotary_emb \(LlamaRotaryEmbedding\) was changed by another library",
    with_an_attention_of_its_own: "FusedAttention.* was changed by another library: its class comes from tests",
    with_another_rotary_class: r"not understood: model.rotary_emb \(UnslothRotary\)",
    with_a_derived_rotary_class: "FasterRotary.* was changed by another library: its class comes from",
    with_other_numbers: "does not hold the frequencies that its config gives: .*another library patched",
}


def whole_state(model: PreTrainedModel) -> dict[str, Any]:
    return {
        "modules": {name: (type(m), dict(vars(m))) for name, m in model.named_modules()},
        "numbers": {name: t.clone() for name, t in [*model.named_parameters(), *model.named_buffers()]},
        "config": model.config.to_dict(),
    }


def assert_untouched(model: PreTrainedModel, before: dict[str, Any]) -> None:
    after = whole_state(model)
    assert after["modules"].keys() == before["modules"].keys()
    for name, (cls, attributes) in after["modules"].items():
        assert (cls, attributes.keys()) == (before["modules"][name][0], before["modules"][name][1].keys())
    assert all(torch.equal(number, before["numbers"][name]) for name, number in after["numbers"].items())
    assert after["config"] == before["config"]


@pytest.mark.parametrize("swap", SWAPS, ids=lambda swap: swap.__name__)
def test_a_model_that_another_library_has_changed_is_refused(swap: Callable[[PreTrainedModel], None]) -> None:
    model = tiny_model()
    swap(model)
    before = whole_state(model)
    with pytest.raises(ValueError, match=SWAPS[swap]):
        patch_model(model, "ntk")
    assert_untouched(model, before)


@pytest.mark.parametrize("cls", [LlamaAttention, LlamaRotaryEmbedding, modeling_llama.LlamaModel])
def test_a_class_whose_forward_was_replaced_is_refused(cls: type[nn.Module], monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model()
    before = everything(model)
    monkeypatch.setattr(cls, "forward", swapped_forward)
    with pytest.raises(ValueError, match=f"{cls.__name__}.* its forward comes from {__name__}"):
        patch_model(model, "ntk")
    assert_same(everything(model), before)


@pytest.mark.parametrize("name", ["apply_rotary_pos_emb", "rotate_half"])
def test_a_replaced_rotation_is_refused_for_every_model_of_its_kind(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model()
    before = everything(model)
    monkeypatch.setattr(modeling_llama, name, swapped_rotation)
    with pytest.raises(ValueError, match=f"modeling_llama.{name} was replaced by another library.*Liger: rope=False"):
        patch_model(model, "ntk")
    assert_same(everything(model), before)
    patch_model(tiny_model("qwen2"), "ntk")  # another file, with functions of its own


def test_a_swap_that_is_undone_is_no_reason_to_refuse() -> None:
    model = tiny_model()
    module = model.model.layers[0].self_attn
    module.forward = MethodType(type(module).forward, module)  # what hooks leave behind when they are taken off
    twin = patch_model(tiny_model(), "linear")
    assert torch.equal(logits(patch_model(model, "linear")), logits(twin))


def test_hooks_are_not_a_foreign_patch() -> None:
    model, seen = tiny_model(), []
    model.model.layers[0].self_attn.register_forward_hook(lambda *_: seen.append(1))
    twin = patch_model(tiny_model(), "linear")
    assert torch.equal(logits(patch_model(model, "linear")), logits(twin))
    assert seen


def test_a_model_without_its_record_is_half_patched() -> None:
    model = patch_model(tiny_model(), "yarn", factor=4)
    delattr(model.config, RECORD)
    before = everything(model)
    for again in (lambda: patch_model(model, "ntk", on_scaled="replace"), lambda: unpatch_model(model)):
        with pytest.raises(ValueError, match=r"model.rotary_emb is patched, but .* is gone: the model is half patched"):
            again()
        assert_same(everything(model), before)


def test_a_fresh_module_in_a_patched_model_is_half_patched() -> None:
    model = patch_model(tiny_model(), "yarn", factor=4)
    plain = tiny_model()
    model.model.rotary_emb = LlamaRotaryEmbedding(plain.config)
    model.model.rotary_emb.config = model.config
    before = everything(model)
    with pytest.raises(ValueError, match="does not hold the frequencies that its config gives"):
        patch_model(model, "ntk")
    assert_same(everything(model), before)


class OddModel(nn.Module):
    """A model of remote code: its own idea of a rotary module, with neither config nor Transformers' methods."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.embed = nn.Embedding(7, 8)
        self.positions = module


class OddRotary(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.freqs = torch.ones(4)


class NamedOtherwise(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self._inv_freq_cache = torch.ones(4)


@pytest.mark.parametrize("module", [OddRotary, NamedOtherwise])
def test_a_remote_code_model_that_is_not_understood_is_named(module: type[nn.Module]) -> None:
    model = OddModel(module())
    before = {name: dict(vars(m)) for name, m in model.named_modules()}
    for call in (lambda: patch_model(model, "ntk"), lambda: unpatch_model(model), lambda: describe(model)):
        with pytest.raises(
            ValueError, match=rf"OddModel has rotary modules that are not understood: .*{module.__name__}"
        ):
            call()
    assert {name: dict(vars(m)) for name, m in model.named_modules()} == before


def test_nothing_global_is_touched_by_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modeling_llama, "apply_rotary_pos_emb", swapped_rotation)
    before = dict(vars(sys.modules[modeling_llama.__name__]))
    with pytest.raises(ValueError, match="was replaced"):
        patch_model(tiny_model(), "ntk")
    assert dict(vars(sys.modules[modeling_llama.__name__])) == before
