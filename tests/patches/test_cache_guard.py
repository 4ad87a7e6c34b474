"""A KV cache of other frequencies is refused, and caches of the same patch are not."""

from __future__ import annotations

import pytest
import torch
from transformers import DynamicCache, StaticCache

from rope_scaling import patch_model, unpatch_model
from tests.models import ARCHITECTURES, TRAINED, tiny_model, tokens

IDS = tokens(12)


@torch.no_grad()
@pytest.mark.parametrize("model_type", ARCHITECTURES)
def test_a_cache_filled_before_patching_is_refused(model_type: str) -> None:
    model = tiny_model(model_type)
    cache = model(IDS, use_cache=True).past_key_values
    patch_model(model, "yarn", factor=4)
    with pytest.raises(ValueError, match="past_key_values was filled before"):
        model(IDS[:, :1], past_key_values=cache)


@torch.no_grad()
def test_a_cache_of_another_patch_is_refused() -> None:
    model = patch_model(tiny_model(), "yarn", factor=4)
    for cache in (model(IDS).past_key_values, DynamicCache(config=model.config)):
        patch_model(model, "yarn", factor=4)
        model(IDS[:, :1], past_key_values=cache)
        patch_model(model, "yarn", factor=2)
        with pytest.raises(ValueError, match="past_key_values was filled before"):
            model(IDS[:, :1], past_key_values=cache)


@torch.no_grad()
def test_a_static_cache_of_another_patch_is_refused() -> None:
    model = patch_model(tiny_model(), "yarn", factor=4)
    cache = StaticCache(config=model.config, max_cache_len=TRAINED)
    model(IDS, past_key_values=cache)
    model(IDS[:, :1], past_key_values=cache)
    patch_model(model, "ntk", factor=4)
    with pytest.raises(ValueError, match="past_key_values was filled before"):
        model(IDS[:, :1], past_key_values=cache)


@torch.no_grad()
def test_a_cache_passed_by_position_is_seen() -> None:
    model = tiny_model()
    cache = model(IDS).past_key_values
    patch_model(model, "ntk")
    with pytest.raises(ValueError, match="past_key_values was filled before"):
        model.get_submodule("model")(IDS[:, :1], None, None, cache)


@torch.no_grad()
def test_a_patch_that_changes_no_frequency_keeps_caches_valid() -> None:
    model = tiny_model()
    cache = model(IDS).past_key_values
    patch_model(model, "none")
    model(IDS[:, :1], past_key_values=cache)


@torch.no_grad()
@pytest.mark.parametrize("implementation", [None, "static"])
def test_chunked_prefill_and_generation_go_through(implementation: str | None) -> None:
    model = patch_model(tiny_model(), "yarn", factor=4)
    ids = tokens(TRAINED + 20)
    whole = model(ids).logits
    cache = DynamicCache(config=model.config)
    parts = [model(part, past_key_values=cache).logits for part in ids.split(17, dim=1)]
    assert torch.allclose(torch.cat(parts, dim=1), whole, atol=1e-5)
    out = model.generate(ids, max_new_tokens=5, do_sample=False, cache_implementation=implementation)
    assert out.shape[1] > ids.shape[1]


@torch.no_grad()
def test_after_unpatching_new_caches_work() -> None:
    model = unpatch_model(patch_model(tiny_model(), "yarn"))
    cache = model(IDS).past_key_values
    model(IDS[:, :1], past_key_values=cache)
