"""Remapped positions on every architecture: short texts as they were, long ones as the model's own code has them."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from rope_scaling import patch_model, unpatch_model
from rope_scaling.remap import position_matrix
from rope_scaling.rope import Rope
from rope_scaling.schemes import Scheme, SelfExtend, is_remap, make_scheme
from tests.architectures.matrix import architectures, everything, logits, same
from tests.architectures.remapped import ByRelativePosition, log_sharpness, self_extend_positions
from tests.architectures.shrink import TRAINED, tiny_config, tiny_model
from tests.architectures.test_dynamic import beside_a_longer_one, generate, ids

_WINDOW = "every layer that rotates sees a window"
_INDEXER = "keeps indexer_keys in cache layer"
_OWN_CODE = "compared by code of its own"
REFUSED = {
    **dict.fromkeys(["afmoe", "cohere2", "cohere2_moe", "exaone4", "exaone_moe", "flint", "kolibri1"], _WINDOW),
    "beam": "sees a sliding window",
    **dict.fromkeys(["axk2", "deepseek_v32", "dots3_note_text", "glm_moe_dsa", "hy_v4"], _INDEXER),
    **dict.fromkeys(["deepseek_v4", "qwen4_exp_text"], "is given . positions for . new tokens"),
    **dict.fromkeys(["falcon", "gpt_neox_japanese"], _OWN_CODE),
    "blt": "could not be asked how its attention is rotated",
    "doge": "adds a bias to the scores",
    "recurrent_gemma": "keeps its keys where no cache shows them",
    "roformer": "no rotary position embedding",
}
"""Model type -> what its error says."""
DROPS_CACHE = ("phi4_multimodal",)
"""Architectures whose `generate`, unpatched, drops the cache where it crosses L; asked beyond L only."""
INEXACT = {"zamba2": 3e-4}
"""Architectures whose recurrent layers, unpatched, are 6e-5 apart between decoding and one forward."""
ROUNDED = {"gemma3n_text": 4e-5}
"""Architectures whose residual streams make rounding larger."""
NEW = 6
WINDOW = TRAINED // 4
OURS = SelfExtend(factor=4, window=WINDOW, log_scale=True)
OTHERS = ["rerope", "leaky-rerope", "dca", "string", "lampe"]
LONGER = {"string": 60 / TRAINED}
"""The factors of schemes that do not reach as far as four times L."""
SOME = [name for name in architectures() if name not in REFUSED]
FEW = ["llama", "glm4", "deepseek_v3", "gpt_oss", "gemma2", "gpt_neox", "qwen3_next"]


@dataclass(frozen=True)
class Case:
    """A patched model, and what it gave before.

    Attributes:
        model: Patched with self-extend.
        state: All that a patch may touch, as it was.
        short: Logits of a text within L.
        long: Of one beyond.
        written: Tokens and logits of `generate` within L.
    """

    model: PreTrainedModel
    state: dict[str, Any]
    short: Tensor
    long: Tensor
    written: tuple[Tensor, Tensor]


@functools.cache
def case(model_type: str) -> Case:
    """One patched model for all tests: making it is most of the work."""
    model = tiny_model(tiny_config(model_type))
    before = forward(model, ids(TRAINED)), logits(model), generate(model, ids(TRAINED - NEW))
    state = everything(model)
    return Case(patch_model(model, OURS), state, *before)


@pytest.mark.parametrize("model_type", SOME)
def test_texts_within_the_trained_length_are_those_of_the_unpatched_model(model_type: str) -> None:
    one = case(model_type)
    assert torch.equal(forward(one.model, ids(TRAINED)), one.short)
    now = generate(one.model, ids(TRAINED - NEW))
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(now, one.written, strict=True))
    assert not torch.allclose(logits(one.model), one.long, atol=1e-4), "beyond, it must see other distances"


@pytest.mark.parametrize("model_type", SOME)
def test_longer_texts_are_what_the_models_own_code_makes_of_every_relative_position(model_type: str) -> None:
    text = ids(3 * TRAINED // 2)
    wanted = self_extend_positions(text.shape[1], TRAINED, WINDOW), log_sharpness(text.shape[1], TRAINED)
    oracle = ByRelativePosition(tiny_model(tiny_config(model_type)), *wanted)
    assert (forward(case(model_type).model, text) - oracle.logits(text)).abs().max() < 1e-5
    assert oracle.remapped


@pytest.mark.parametrize("model_type", SOME)
def test_decoding_past_the_trained_length_is_one_forward_padded_or_not(model_type: str) -> None:
    model = case(model_type).model
    prompt = ids(TRAINED + 2 if model_type in DROPS_CACHE else TRAINED - 2)
    sequences, written = generate(model, prompt)
    once = forward(model, sequences)[:, -NEW - 1 : -1]
    assert (written - once).abs().max() < INEXACT.get(model_type, 1e-4)
    assert torch.equal(once.argmax(-1), sequences[:, -NEW:])
    assert (beside_a_longer_one(model, prompt) - written).abs().max() < 1e-4


@pytest.mark.parametrize("model_type", SOME)
def test_undoing_leaves_nothing_behind(model_type: str) -> None:
    one = case(model_type)
    unpatch_model(one.model)
    try:
        assert same(everything(one.model), one.state)
        assert torch.equal(logits(one.model), one.long)
    finally:
        patch_model(one.model, OURS)


@pytest.mark.parametrize("scheme", OTHERS)
@pytest.mark.parametrize(
    "model_type", [name if name in FEW else pytest.param(name, marks=pytest.mark.slow) for name in SOME]
)
def test_every_scheme_is_what_the_models_own_code_makes_of_its_positions(model_type: str, scheme: str) -> None:
    text = ids(TRAINED + 8)
    made = make_scheme(scheme, {"factor": float(LONGER.get(scheme, 4)), "log_scale": True})
    model = patch_model(tiny_model(tiny_config(model_type)), made)
    oracle = ByRelativePosition(tiny_model(tiny_config(model_type)), *matrix(made, text.shape[1]))
    assert (forward(model, text) - oracle.logits(text)).abs().max() < ROUNDED.get(model_type, 2e-5)
    assert oracle.remapped


@pytest.mark.parametrize("model_type", REFUSED)
def test_what_cannot_be_remapped_is_refused_untouched(model_type: str) -> None:
    model = tiny_model(tiny_config(model_type))
    state, before = everything(model), logits(model)
    with pytest.raises((TypeError, ValueError), match=REFUSED[model_type]):
        patch_model(model, OURS)
    assert same(everything(model), state)
    assert torch.equal(logits(model), before)


def matrix(scheme: Scheme, count: int) -> tuple[Tensor, Tensor]:
    """The positions of a scheme, compared with the papers elsewhere, and its queries' sharpness."""
    assert is_remap(scheme)
    rope = Rope.plain(1e4, 16, TRAINED)
    return position_matrix(scheme.bands(rope), count), log_sharpness(count, TRAINED)


def forward(model: Any, text: Tensor) -> Tensor:
    """(1, tokens, vocabulary) of one forward without a cache."""
    with torch.no_grad():
        out: Tensor = model(text, use_cache=False).logits
    return out
