"""Dynamic scaling of models that also see or hear, and of encoders."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from rope_scaling import describe, patch_model, rope_length, unpatch_model
from tests.models import TRAINED, tokens
from tests.patches import test_beyond_text_encoders as encoders
from tests.patches import test_beyond_text_language as seeing

LONG = 2 * TRAINED


@torch.no_grad()
def decode(model: PreTrainedModel, positions: Tensor, steps: list[int]) -> Tensor:
    """Hidden states of the language model, read in chunks at positions on three axes."""
    cache, parts = DynamicCache(config=model.config.text_config), []
    for ids, at in zip(tokens(sum(steps)).split(steps, 1), positions.split(steps, 2), strict=True):
        out = model.model.language_model(input_ids=ids, position_ids=at, past_key_values=cache, use_cache=True)
        parts.append(out.last_hidden_state)
    return torch.cat(parts, dim=1)


def reaching(count: int) -> Tensor:
    """Positions on three axes, (3, 1, count), each axis its own, none behind the token before by much."""
    along = torch.arange(count)
    return torch.stack((along, along + along % 5, along + along % 3))[:, None]


@pytest.mark.parametrize("model_type", seeing.TOWERS)
def test_a_language_model_with_sections_is_scaled_by_the_length_of_its_positions(model_type: str) -> None:
    model = patch_model(seeing.tiny_model(seeing.tiny_config(model_type)), "dynamic-yarn", factor=4)
    twin = seeing.tiny_model(seeing.tiny_config(model_type, seeing.native("yarn"), LONG))
    plain = seeing.tiny_model(seeing.tiny_config(model_type))
    whole = reaching(LONG - 4)
    with rope_length(model, LONG):
        assert (decode(model, whole, [30, 1, LONG - 35]) - decode(twin, whole, [LONG - 4])).abs().max() < 1e-5
    short = reaching(TRAINED - 4)
    steps = [30, TRAINED - 34]
    assert torch.equal(decode(model, short, steps), decode(plain, short, steps))
    assert describe(model).cannot_grow is None


def test_keys_at_positions_on_three_axes_are_rotated_anew() -> None:
    config = seeing.tiny_config("qwen2_vl")
    config.text_config.num_hidden_layers = 1
    config.text_config.layer_types = config.text_config.layer_types[:1]
    model = patch_model(seeing.tiny_model(config), "dynamic-yarn", factor=4)
    where = reaching(100)
    grown = decode(model, where, [60, *[1] * 40])
    lengths = model.model.language_model.rotary_emb.row_lengths
    whole = next(int(length) for length in lengths if length >= 1.19 * TRAINED)  # grown once, from L
    longest = max(length for length in (whole, *map(int, lengths)) if length <= 200)
    apart = []
    for length in {int(one) for one in lengths if TRAINED < one <= longest}:
        with rope_length(model, length):
            apart.append((decode(model, where, [100])[:, -1] - grown[:, -1]).abs().max().item())
    assert min(apart) < 1e-5


@pytest.mark.parametrize("model_type", ["eurobert", "modernbert"])
def test_an_encoder_is_scaled_row_by_row(model_type: str) -> None:
    sizes: dict[str, Any] = {"global_attn_every_n_layers": 1} if model_type == "modernbert" else {}
    plain = encoders.tiny_model(encoders.tiny_config(model_type, **sizes))
    model = patch_model(encoders.tiny_model(encoders.tiny_config(model_type, **sizes)), "dynamic-linear", factor=4)
    static = patch_model(encoders.tiny_model(encoders.tiny_config(model_type, **sizes)), "linear", factor=2)
    short, long = tokens(TRAINED), tokens(LONG, seed=3)
    with torch.no_grad():
        assert torch.equal(model(short).last_hidden_state, plain(short).last_hidden_state)
        assert (model(long).last_hidden_state - static(long).last_hidden_state).abs().max() < 1e-5
        padded = torch.cat((torch.cat((short, torch.zeros_like(short)), dim=1), long))
        mask = torch.ones_like(padded)
        mask[0, TRAINED:] = 0
        both = model(padded, attention_mask=mask).last_hidden_state
        assert (both[0, :TRAINED] - plain(short).last_hidden_state[0]).abs().max() < 1e-5
        assert (both[1] - model(long).last_hidden_state[0]).abs().max() < 1e-5
        unpatch_model(model)
        assert torch.equal(model(long).last_hidden_state, plain(long).last_hidden_state)
