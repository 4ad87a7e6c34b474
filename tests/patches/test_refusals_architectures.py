"""Models whose positions are no rotation: refused by what they are, and left as they were."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModel, PreTrainedModel

from rope_scaling import describe, patch_model, patched, rope_of, unpatch_model
from rope_scaling.config import read_rope
from tests.models import tiny_config
from tests.patches.test_refusals_foreign import assert_untouched, whole_state

_SIZES: dict[str, Any] = {"vocab_size": 97, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
POSITIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "ALiBi: bloom": ("bloom", {}),
    "ALiBi: mpt": ("mpt", {}),
    "ALiBi: falcon": ("falcon", {"alibi": True}),
    "absolute: gpt2": ("gpt2", {}),
    "absolute: opt": ("opt", {"ffn_dim": 32, "word_embed_proj_dim": 32}),
    "absolute: bert": ("bert", {"intermediate_size": 32}),
    "bias: t5": ("t5", {"d_kv": 16, "d_ff": 32}),
    "none: mamba": ("mamba", {}),
    "none: rwkv": ("rwkv", {"attention_hidden_size": 32}),
}


def tiny(name: str) -> PreTrainedModel:
    model_type, own = POSITIONS[name]
    torch.manual_seed(0)
    model: PreTrainedModel = AutoModel.from_config(AutoConfig.for_model(model_type, **_SIZES, **own))
    return model.eval()


@pytest.mark.parametrize("name", POSITIONS)
def test_a_model_without_a_rotation_is_a_type_error_everywhere(name: str) -> None:
    model = tiny(name)
    before = whole_state(model)
    for call in (
        lambda: patch_model(model, "ntk"),
        lambda: patch_model(model, "none"),
        lambda: patched(model, "ntk").__enter__(),
        lambda: describe(model),
        lambda: rope_of(model),
    ):
        with pytest.raises(TypeError, match=r"has no (rotary position embedding|RoPE)"):
            call()
        assert_untouched(model, before)
    with pytest.raises((TypeError, ValueError), match=r"has no rotary position embedding|is not patched"):
        unpatch_model(model)
    assert_untouched(model, before)


@pytest.mark.parametrize("alibi", [True, 1])
def test_alibi_is_refused_however_the_config_says_yes(alibi: object) -> None:
    config = tiny_config("falcon").to_dict() | {"alibi": alibi}
    with pytest.raises(TypeError, match="falcon has no RoPE: alibi=True, its positions are biases on attention"):
        read_rope(config)
