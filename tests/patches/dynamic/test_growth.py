"""A row that outgrows its scale has its cached keys rotated anew: exactly, seldom, with no rounding that adds up."""

from __future__ import annotations

import copy
import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel, QuantizedCache

from rope_scaling import describe, rope_length
from rope_scaling.patches.dynamic import growth
from tests.models import TRAINED, tokens
from tests.patches.dynamic.models import LONGEST, TEXT, apart, dynamic, new_cache, read, scaled_for, whole

STEPS = [TRAINED - 4, *[1] * 20, 40, *[1] * 30]
"""Past the trained length token by token, then by a chunk, then on."""


def one_layer(scheme: str = "dynamic-yarn", model_type: str = "llama", **changes: Any) -> PreTrainedModel:
    """Where no hidden state of an earlier token depends on the scale, growth can be exact."""
    return dynamic(scheme, model_type, num_hidden_layers=1, **changes)


def anew(model: PreTrainedModel, cache: Any, count: int) -> Tensor:
    """The last token's logits of one forward over `count` tokens at the scale that a cache has now."""
    return whole(model, TEXT[:, :count], rope_length=scaled_for(model, cache))[:, -1]


@pytest.mark.parametrize("scheme", ["dynamic-linear", "dynamic-ntk", "dynamic-yarn", "dynamic-llama3"])
@pytest.mark.parametrize("kind", ["dynamic", "static"])
def test_in_one_layer_it_is_what_a_fresh_forward_gives(scheme: str, kind: str) -> None:
    model = one_layer(scheme)
    cache = new_cache(model, kind)
    grown = read(model, TEXT, cache, STEPS)
    assert scaled_for(model, cache)[0] > TRAINED
    assert apart(grown[:, -1], anew(model, cache, sum(STEPS))) < 1e-5


@pytest.mark.parametrize(
    ("model_type", "changes"),
    [
        ("cohere", {}),  # neighbours are a pair
        ("gpt_neox", {}),  # a quarter of the dimensions turn
        ("mistral", {"sliding_window": 48}),
        ("gemma3_text", {"layer_types": ["full_attention"], "sliding_window": 16}),
        ("phi3", {}),
        ("nanochat", {}),  # the other way round, and normed after
        ("glm4", {}),
    ],
)
@pytest.mark.parametrize("kind", ["dynamic", "static"])
def test_so_it_is_however_keys_lie_in_a_cache(model_type: str, changes: dict[str, Any], kind: str) -> None:
    model = one_layer(model_type=model_type, **changes)
    cache = new_cache(model, kind)
    grown = read(model, TEXT, cache, STEPS)
    held = vars(cache)["_rope_scaling_rows"].rows.tolist()
    lengths = next(b for name, b in model.named_buffers() if name.endswith("row_lengths"))
    once = whole(model, TEXT[:, : sum(STEPS)], rope_length=int(lengths[held[0]]))
    assert apart(grown[:, -1], once[:, -1]) < 1e-5


def test_keys_left_as_they_were_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    model = one_layer()
    cache = new_cache(model, "dynamic")
    monkeypatch.setattr(growth, "rerotate", lambda *_: None)
    grown = read(model, TEXT, cache, STEPS)
    assert apart(grown[:, -1], anew(model, cache, sum(STEPS))) > 1e-2


def test_rows_grow_each_in_its_own_time() -> None:
    model = one_layer()
    width, blank = 90, torch.zeros(1, 40, dtype=torch.int64)
    ids = torch.cat((torch.cat((blank, TEXT[:, :50]), dim=1), tokens(width, seed=8)))
    mask = torch.ones(2, width, dtype=torch.int64)
    mask[0, :40] = 0
    cache, alone = new_cache(model, "dynamic"), new_cache(model, "dynamic")
    with torch.no_grad():
        both = [model(ids, past_key_values=cache, attention_mask=mask).logits[0, -1]]
        own = [model(TEXT[:, :50], past_key_values=alone).logits[0, -1]]
        for n in range(40):
            mask = torch.cat((mask, mask.new_ones(2, 1)), dim=1)
            token = TEXT[:, 50 + n, None]
            both.append(model(token.expand(2, -1), past_key_values=cache, attention_mask=mask).logits[0, -1])
            own.append(model(token, past_key_values=alone).logits[0, -1])
    assert scaled_for(model, cache)[0] == scaled_for(model, alone)[0] > TRAINED
    assert scaled_for(model, cache)[1] > scaled_for(model, cache)[0]
    assert apart(torch.stack(both), torch.stack(own)) < 1e-5


def test_a_plan_that_is_outgrown_grows_on() -> None:
    model = one_layer()
    cache = new_cache(model, "dynamic")
    with rope_length(model, 100):
        read(model, TEXT, cache, [90])
    grown = read(model, TEXT[:, 90:], cache, [1] * 60)
    assert scaled_for(model, cache)[0] >= 150
    assert apart(grown[:, -1], anew(model, cache, 150)) < 1e-5


@pytest.mark.parametrize("by", [1.05, 2**0.25, 1.5])
def test_it_grows_in_geometric_steps(by: float) -> None:
    model = _grown_by(by)
    cache = new_cache(model, "dynamic")
    scales = []
    for n in range(LONGEST):
        read(model, TEXT[:, n:], cache, [1])
        scales.append(scaled_for(model, cache)[0])
    steps = sum(a != b for a, b in itertools.pairwise(scales))
    assert scales == sorted(scales)
    assert all(scale >= min(n + 1, LONGEST) for n, scale in enumerate(scales))
    assert steps <= math.ceil(math.log(4) / math.log(by)) + 2


def _grown_by(by: float) -> PreTrainedModel:
    from rope_scaling import DynamicScaling, YaRN, patch_model
    from tests.models import tiny_config, tiny_model

    return patch_model(tiny_model(tiny_config(num_hidden_layers=1)), DynamicScaling(YaRN(4.0), growth=by))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_rounding_does_not_add_up(dtype: torch.dtype) -> None:
    model = _grown_by(1.03).to(dtype)  # as many growths as the grid has rows, 64
    rotary = model.get_submodule("model.rotary_emb")
    caches = [new_cache(model, "dynamic") for _ in range(2)]
    for cache in caches:
        read(model, TEXT, cache, [40])
    first = caches[0].layers[0].keys.double()
    held = vars(caches[0])["_rope_scaling_rows"]
    for row in range(1, 65):  # one after another ...
        growth.grow_keys(model.get_submodule("model"), caches[0], held, held.rows.new_tensor([row]), 1)
        held.rows = held.rows.new_tensor([row])
    once = vars(caches[1])["_rope_scaling_rows"]
    growth.grow_keys(model.get_submodule("model"), caches[1], once, once.rows.new_tensor([64]), 1)  # ... and at once
    exact = _turned(first, rotary, 64)
    size = first.abs().max().item()
    one_rounding = apart(caches[1].layers[0].keys.double(), exact) / size
    assert one_rounding < torch.finfo(dtype).eps
    assert apart(caches[0].layers[0].keys.double(), exact) / size < 1.5 * torch.finfo(dtype).eps


def _turned(keys: Tensor, rotary: Any, row: int) -> Tensor:
    """Keys of positions 0, 1, ... turned from the first row of the grid to another, in float64."""
    at = torch.arange(keys.shape[-2], dtype=torch.float64)[:, None]
    angle = at * (rotary.row_frequencies[row].double() - rotary.row_frequencies[0].double())
    x, y = keys.chunk(2, dim=-1)
    turned = torch.cat((x * angle.cos() - y * angle.sin(), y * angle.cos() + x * angle.sin()), dim=-1)
    return turned * float(rotary.row_factors[row] / rotary.row_factors[0])


def test_a_reset_cache_begins_anew() -> None:
    model = one_layer()
    for kind in ("dynamic", "static"):
        cache = new_cache(model, kind)
        first = read(model, TEXT, cache, STEPS)
        cache.reset()
        assert apart(read(model, TEXT, cache, STEPS), first) == 0


def test_a_cropped_cache_goes_on_from_where_it_was_cut() -> None:
    model = one_layer()
    cache, straight = new_cache(model, "dynamic"), new_cache(model, "dynamic")
    read(model, TEXT, cache, [60, 3])
    cache.crop(-3)
    cut = read(model, TEXT[:, 60:], cache, [1] * 60)
    read(model, TEXT, straight, [60])
    assert apart(cut, read(model, TEXT[:, 60:], straight, [1] * 60)) < 1e-6


def test_rows_of_a_cache_can_be_repeated_selected_and_reordered() -> None:
    model = one_layer()
    ids = torch.cat((TEXT[:, :50], tokens(50, seed=3)))
    cache = new_cache(model, "dynamic")
    with rope_length(model, [50, 200]):
        read(model, ids, cache, [50])
    cache.batch_repeat_interleave(2)
    assert scaled_for(model, cache) == [64, 64, 203, 203] or len(set(scaled_for(model, cache))) == 2
    cache.batch_select_indices(torch.tensor([2, 0]))
    cache.reorder_cache(torch.tensor([1, 0]))
    again = torch.cat((ids[:1], ids[1:]))
    mine = read(model, TEXT[:, 50:].expand(2, -1), cache, [1] * 40)
    other = new_cache(model, "dynamic")
    with rope_length(model, [50, 200]):
        read(model, again, other, [50])
    assert apart(mine, read(model, TEXT[:, 50:].expand(2, -1), other, [1] * 40)) < 1e-6


def test_a_copied_cache_grows_apart() -> None:
    model = one_layer()
    cache = new_cache(model, "dynamic")
    read(model, TEXT, cache, [60])
    copied = copy.deepcopy(cache)
    read(model, TEXT[:, 60:], cache, [100])
    assert scaled_for(model, copied) == [TRAINED]
    grown = read(model, TEXT[:, 60:], copied, [100])
    assert apart(grown[:, -1], anew(model, copied, 160)) < 1e-5
    copied.reorder_cache(torch.tensor([0]))


def test_a_cache_of_other_rows_is_an_error() -> None:
    model = dynamic()
    cache = new_cache(model, "dynamic")
    read(model, TEXT, cache, [10])
    with pytest.raises(ValueError, match="filled with 1 rows, and this batch has 2: start with an empty one"):
        read(model, torch.cat((TEXT, TEXT)), cache, [10])


def test_a_cache_that_cannot_be_rotated_anew_is_an_error_once_it_would_have_to_be() -> None:
    model = dynamic()
    cache = QuantizedCache(backend="quanto", config=model.config)
    read(model, TEXT, cache, [TRAINED - 2, 2])
    with pytest.raises(ValueError, match=r"cannot grow past 64 tokens .*QuantoQuantizedLayer holds keys in a form of"):
        read(model, TEXT, cache, [1])
    with rope_length(model, LONGEST):
        planned = QuantizedCache(backend="quanto", config=model.config)
        read(model, TEXT, planned, [TRAINED, 20])
    read(model, TEXT, planned, [20])


def test_what_a_model_cannot_grow_is_told() -> None:
    assert describe(dynamic()).cannot_grow is None
    model = dynamic()
    vars(model.get_submodule("model"))["_rope_scaling_layout"].unknown = "they turn in a way of their own"
    assert "lengths must be planned" in str(describe(model))
    with pytest.raises(ValueError, match="they turn in a way of their own"):
        read(model, TEXT, new_cache(model, "dynamic"), [60, 10])


def test_a_cache_that_the_model_makes_itself_remembers_too() -> None:
    model = one_layer()
    with torch.no_grad():
        cache = model(TEXT[:, :70], use_cache=True).past_key_values
    assert isinstance(cache, DynamicCache)
    grown = read(model, TEXT[:, 70:], cache, [1] * 60)
    assert apart(grown[:, -1], anew(model, cache, 130)) < 1e-5


def test_so_does_one_that_comes_back_in_a_tuple() -> None:
    model = one_layer()
    with torch.no_grad():
        cache = model(TEXT[:, :70], use_cache=True, return_dict=False)[1]
    grown = read(model, TEXT[:, 70:], cache, [1] * 60)
    assert apart(grown[:, -1], anew(model, cache, 130)) < 1e-5


def test_a_mask_as_wide_as_a_static_cache_is_read_where_the_tokens_stand() -> None:
    model = one_layer()
    mask = torch.ones(1, LONGEST, dtype=torch.int64)
    wide, plain = new_cache(model, "static"), new_cache(model, "static")
    assert apart(read(model, TEXT, wide, STEPS, attention_mask=mask), read(model, TEXT, plain, STEPS)) < 1e-5
    assert scaled_for(model, wide) == scaled_for(model, plain)


def test_a_cache_filled_around_the_model_is_refused() -> None:
    model = dynamic()
    cache = new_cache(model, "dynamic")
    cache.update(torch.zeros(1, 1, 5, 32), torch.zeros(1, 1, 5, 32), 0)
    vars(cache)["_rope_scaling_filled_with"] = vars(model.model)["_rope_scaling_guard"][0]
    with pytest.raises(ValueError, match="filled where the scale of its rows was not seen"):
        read(model, TEXT, cache, [5])


def test_packed_texts_share_the_scale_of_the_longest() -> None:
    model = dynamic()
    positions = torch.cat((torch.arange(100), torch.arange(40)))[None]
    packed = whole(model, TEXT[:, :140], position_ids=positions)
    assert apart(packed[:, :100], whole(model, TEXT[:, :100])) < 1e-5
    assert apart(packed[:, 100:], whole(model, TEXT[:, 100:140], rope_length=100)) < 1e-5
