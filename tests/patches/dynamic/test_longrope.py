"""Longrope checkpoints: Transformers switches lists for the whole batch and leaves the cache behind; here rows do."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from rope_scaling import describe, fix_longrope, rope_length
from tests.models import TRAINED, tiny_config, tiny_model, tokens
from tests.patches.dynamic.models import LONGEST, TEXT, apart, new_cache, read, whole

SHORT = [1.0 + 0.02 * i for i in range(16)]
LONG = [1.5 + 0.4 * i for i in range(16)]


def checkpoint(model_type: str = "llama", short: list[float] = SHORT, long: list[float] = LONG) -> PreTrainedModel:
    """A tiny model whose config switches from one list to another at 64 tokens."""
    said = {
        "rope_type": "longrope",
        "rope_theta": 1e4,
        "short_factor": short,
        "long_factor": long,
        "factor": 4.0,
        "original_max_position_embeddings": TRAINED,
    }
    changes: dict[str, Any] = {"rope_parameters": said, "max_position_embeddings": LONGEST}
    return tiny_model(tiny_config(model_type, **changes))


@pytest.mark.parametrize("model_type", ["llama", "phi3"])
def test_a_text_of_any_length_is_read_as_by_transformers(model_type: str) -> None:
    fixed = fix_longrope(checkpoint(model_type))
    for length in (20, TRAINED):
        assert torch.equal(whole(fixed, TEXT[:, :length]), whole(checkpoint(model_type), TEXT[:, :length]))
    for length in (TRAINED + 1, 200):
        assert apart(whole(fixed, TEXT[:, :length]), whole(checkpoint(model_type), TEXT[:, :length])) < 1e-5


@pytest.mark.parametrize("model_type", ["llama", "phi3"])
def test_decoding_past_the_switch_is_one_forward_where_transformers_is_far_off(model_type: str) -> None:
    fixed, broken = fix_longrope(checkpoint(model_type)), checkpoint(model_type)
    steps = [50, *[1] * 60]
    with rope_length(fixed, sum(steps)):
        own = read(fixed, TEXT, new_cache(fixed, "dynamic"), steps)
    meant = whole(checkpoint(model_type), TEXT[:, : sum(steps)])
    assert apart(own, meant) < 1e-5
    theirs = read(broken, TEXT, new_cache(broken, "dynamic"), steps)
    assert apart(theirs, meant) > 0.1


def test_generate_plans_the_list() -> None:
    fixed = fix_longrope(checkpoint())
    settings: dict[str, Any] = {"max_new_tokens": 60, "do_sample": False, "eos_token_id": -1}
    out = fixed.generate(TEXT[:, :50], return_dict_in_generate=True, output_logits=True, **settings)
    once = whole(checkpoint(), out.sequences)
    assert apart(torch.stack(out.logits, dim=1), once[:, -61:-1]) < 1e-4


def test_a_row_that_outgrows_its_plan_changes_lists_with_all_its_keys() -> None:
    said = checkpoint().config.to_dict() | {"num_hidden_layers": 1}
    fixed = fix_longrope(tiny_model(type(checkpoint().config).from_dict(said)))
    cache = new_cache(fixed, "dynamic")
    grown = read(fixed, TEXT, cache, [50, *[1] * 40])
    once = whole(tiny_model(type(checkpoint().config).from_dict(said)), TEXT[:, :90])
    assert apart(grown[:, -1], once[:, -1]) < 1e-5


def test_a_short_row_keeps_the_short_list_beside_a_long_one() -> None:
    fixed = fix_longrope(checkpoint())
    short, width = TEXT[:, :40], 150
    padded = torch.cat((torch.zeros(1, width - 40, dtype=torch.int64), short), dim=1)
    mask = torch.ones(2, width, dtype=torch.int64)
    mask[0, : width - 40] = 0
    ids = torch.cat((padded, tokens(width, seed=3)))
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    both = whole(fixed, ids, attention_mask=mask, position_ids=positions)
    alone = whole(checkpoint(), short)
    assert apart(both[:1, -40:], alone) < 1e-5
    theirs = whole(checkpoint(), ids, attention_mask=mask, position_ids=positions)
    assert apart(theirs[:1, -40:], alone) > 0.1


def test_it_is_described_with_its_lists() -> None:
    told = describe(fix_longrope(checkpoint()))
    assert told.dynamic
    assert told.scheme is not None
    assert told.scheme.name == "dynamic-longrope"
    assert (told.original_max_position_embeddings, told.max_length) == (TRAINED, LONGEST)


def test_another_checkpoint_is_refused() -> None:
    with pytest.raises(ValueError, match="is of rope_type 'default', which has no short and long list"):
        fix_longrope(tiny_model())
