"""Reading the RoPE of a live model."""

from __future__ import annotations

import pytest
import torch

from rope_scaling import Linear, Rope, YaRN, patch_model, rope_of
from tests.models import ARCHITECTURES, TRAINED, tiny_gemma3, tiny_model
from tests.patches.state import rotary


@pytest.mark.parametrize("model_type", ARCHITECTURES)
def test_a_live_model_reads_as_its_config_does(model_type: str) -> None:
    model = tiny_model(model_type)
    live, said = rope_of(model), Rope.from_config(model.config)
    assert live.inv_freq == pytest.approx(said.inv_freq, rel=1e-6)
    assert (live.theta, live.rotary_dim, live.rope_type) == (said.theta, said.rotary_dim, said.rope_type)
    assert live.original_max_position_embeddings == TRAINED
    assert rope_of(rotary(model)) == live


def test_a_patched_model_reads_as_it_rotates_now_and_its_config_as_it_was_trained() -> None:
    model = patch_model(tiny_model(), YaRN(4))
    scaled = YaRN(4)(Rope.plain(1e4, 32, TRAINED))
    assert rope_of(model).inv_freq == pytest.approx(scaled.inv_freq, rel=1e-6)
    assert rope_of(model).attention_factor == pytest.approx(scaled.attention_factor)
    assert rope_of(model).rope_type == "yarn"
    assert Rope.from_config(model.config) == Rope.plain(1e4, 32, TRAINED)


def test_rounded_frequencies_are_read_as_they_are() -> None:
    model = tiny_model().to(torch.bfloat16)
    assert rope_of(model).inv_freq != pytest.approx(rope_of(tiny_model()).inv_freq, rel=1e-4)


def test_each_layer_type_is_read_by_name() -> None:
    model = patch_model(tiny_gemma3(["sliding_attention", "full_attention"]), Linear(2))
    assert rope_of(model, "full_attention").inv_freq[0] == 0.5
    assert rope_of(model, "sliding_attention").inv_freq[0] == 1
    with pytest.raises(ValueError, match="no layer type None"):
        rope_of(model)
