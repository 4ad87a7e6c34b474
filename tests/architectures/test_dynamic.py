"""Dynamic scaling on every architecture: short texts as they were, planned decoding one forward, keys grown rightly."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from rope_scaling import describe, patch_model, rope_length
from rope_scaling.patches.dynamic.layout import LAYOUT
from rope_scaling.patches.dynamic.plans import homes_in
from tests.architectures.matrix import architectures
from tests.architectures.shrink import TRAINED, tiny_config, tiny_model

REFUSED = {
    "beam": "sees a sliding window",
    "blt": "keeps its keys where no cache shows them",
    "phimoe": "does not rotate by the frequencies that it holds",
    "recurrent_gemma": "keeps its keys where no cache shows them",
    "roformer": "no rotary position embedding",
}
"""Model type -> what its error says."""
PADDING_SHOWS = ("deepseek_v4",)
"""Architectures whose own logits, unpatched, depend on padding."""
OWN_CACHE = ("deepseek_v4",)
"""Architectures with cache layers of their own: they are planned, and cannot grow."""
FORGETS_POSITIONS = ("bamba",)
"""Architectures that, unpatched, begin at position 0 with every call where nobody gives them positions."""
DROPS_CACHE = ("phi4_multimodal",)
"""Architectures whose `generate`, unpatched, drops the cache where it crosses L; asked beyond L only."""
INEXACT = {"zamba2": 3e-4}
"""Architectures whose recurrent layers, unpatched, are 6e-5 apart between decoding and one forward."""
NEW = 6


def ids(count: int, seed: int = 1) -> Tensor:
    return torch.randint(3, 97, (1, count), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("model_type", architectures())
def test_planned_decoding_is_one_forward(model_type: str) -> None:
    model = tiny_model(tiny_config(model_type))
    if model_type in REFUSED:
        with pytest.raises((TypeError, ValueError), match=REFUSED[model_type]):
            patch_model(model, "dynamic-yarn", factor=4)
        return
    short, prompt = ids(TRAINED), ids(TRAINED + 2 if model_type in DROPS_CACHE else TRAINED - 2)
    with torch.no_grad():
        before = model(short, use_cache=False).logits
        patch_model(model, "dynamic-yarn", factor=4)
        assert torch.equal(model(short, use_cache=False).logits, before)
    sequences, logits = generate(model, prompt)
    with rope_length(model, sequences.shape[1]), torch.no_grad():
        once = model(sequences, use_cache=False).logits[:, -NEW - 1 : -1]
    assert (logits - once).abs().max() < INEXACT.get(model_type, 1e-4)
    assert torch.equal(once.argmax(-1), sequences[:, -NEW:])
    if model_type not in PADDING_SHOWS:
        assert (beside_a_longer_one(model, prompt) - logits).abs().max() < 1e-4


@pytest.mark.parametrize("model_type", sorted({*architectures()} - {*REFUSED}))
def test_keys_that_grow_are_those_of_a_fresh_forward(model_type: str) -> None:
    model = patch_model(tiny_model(tiny_config(model_type)), "dynamic-yarn", factor=4)
    assert describe(model).cannot_grow is None
    text, steps = ids(2 * TRAINED), [TRAINED - 2, *[1] * 8, 10]
    if model_type in OWN_CACHE:
        with pytest.raises(ValueError, match="holds keys in a form of its own"):
            read(model, text, steps)
        return
    home = homes_in(model)[0]
    cache = read(model, text, steps)
    layout = vars(home)[LAYOUT]
    held = vars(cache)["_rope_scaling_rows"]
    length = int(layout.turned[0].module.get_buffer("row_lengths")[held.rows[0]])
    assert length >= sum(steps) > TRAINED
    with rope_length(model, length):
        fresh = read(model, text, [sum(steps)])
    checked = 0
    for turned in layout.turned:
        for one in turned.keys:
            if one.layer == 0:  # of later layers the hidden states differ: they were made at the scale of their time
                mine, theirs = (getattr(each.layers[0], one.name) for each in (cache, fresh))
                slots = min(mine.shape[-2], theirs.shape[-2])
                apart = (mine[..., -slots:, :] - theirs[..., -slots:, :]).abs().max()
                assert apart < 1e-5 * max(1.0, theirs.abs().max())
                checked += 1
    first = next(n for n, layer in enumerate(cache.layers) if hasattr(layer, "keys"))
    assert checked or first > 0 or model_type not in ("llama", "qwen2", "mistral")


def read(model: Any, text: Tensor, steps: list[int]) -> Any:
    """The cache that the model fills itself, chunk by chunk."""
    cache: Any = None
    at = 0
    for part in torch.split(text[:, : sum(steps)], steps, dim=1):
        given = {} if cache is None else {"past_key_values": cache}
        if model.config.model_type in FORGETS_POSITIONS:
            given["position_ids"] = torch.arange(at, at + part.shape[1])[None]
        at += part.shape[1]
        with torch.no_grad():
            cache = model(part, use_cache=True, **given).past_key_values
    return cache


def generate(model: Any, prompt: Tensor, **inputs: Any) -> tuple[Tensor, Tensor]:
    """Greedy tokens, and the logits of each new one."""
    settings = {"max_new_tokens": NEW, "do_sample": False, "eos_token_id": -1}
    out = model.generate(prompt, return_dict_in_generate=True, output_logits=True, **settings, **inputs)
    return out.sequences, torch.stack(out.logits, dim=1)


def beside_a_longer_one(model: Any, prompt: Tensor) -> Tensor:
    """The logits of a prompt that is padded on the left to another's length."""
    blank = torch.zeros(1, 20, dtype=torch.int64)
    both = torch.cat((torch.cat((blank, prompt), dim=1), ids(20 + prompt.shape[1], seed=9)))
    mask = torch.ones_like(both)
    mask[0, :20] = 0
    return generate(model, both, attention_mask=mask)[1][:1]
