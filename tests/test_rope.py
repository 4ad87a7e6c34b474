"""Reading a checkpoint's RoPE from every place where configs have kept it."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from transformers import (
    BertConfig,
    BloomConfig,
    DeepseekV3Config,
    FalconConfig,
    Gemma3TextConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MptConfig,
    Phi3Config,
    PreTrainedConfig,
    Qwen3Config,
    StableLmConfig,
)
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from rope_scaling.config import read_rope
from rope_scaling.rope import Rope

LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
YARN = {"rope_type": "yarn", "rope_theta": 1e6, "factor": 4.0, "original_max_position_embeddings": 32768}
DEEPSEEK = YARN | {"mscale": 1.0, "mscale_all_dim": 0.7, "beta_fast": 32, "beta_slow": 1}
LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 1e4,
    "short_factor": [1.0 + 0.01 * i for i in range(48)],
    "long_factor": [1.0 + i for i in range(48)],
    "original_max_position_embeddings": 4096,
}


def test_an_unscaled_config_reads_as_the_plain_series() -> None:
    rope = Rope.from_config(LlamaConfig(head_dim=64, max_position_embeddings=8192))
    assert rope == Rope.plain(1e4, 64, 8192)
    assert rope.is_plain
    assert rope.inv_freq[0] == 1
    assert rope.wavelengths[0] == pytest.approx(2 * math.pi)


@pytest.mark.parametrize(("parameters", "length"), [(LLAMA3, 131072), (YARN, 131072), (DEEPSEEK, 131072)])
def test_a_scaled_config_reads_as_transformers_computes_it(parameters: dict[str, Any], length: int) -> None:
    config = LlamaConfig(head_dim=128, max_position_embeddings=length, rope_parameters=dict(parameters))
    rope = Rope.from_config(config)
    inv_freq, attention_factor = ROPE_INIT_FUNCTIONS[str(parameters["rope_type"])](config, torch.device("cpu"))
    assert torch.allclose(torch.tensor(rope.inv_freq).float(), inv_freq, rtol=1e-6, atol=0)
    assert rope.attention_factor == pytest.approx(attention_factor, rel=1e-12)
    assert rope.rope_type == parameters["rope_type"]
    assert rope.original_max_position_embeddings == parameters["original_max_position_embeddings"]


@pytest.mark.parametrize("length", [4096, 4097, None])
def test_longrope_is_read_for_a_length_as_transformers_does(length: int | None) -> None:
    config = Phi3Config(max_position_embeddings=131072, rope_parameters=dict(LONGROPE))
    rope = read_rope(config, length=length)
    inv_freq, attention_factor = ROPE_INIT_FUNCTIONS["longrope"](
        config, torch.device("cpu"), seq_len=131072 if length is None else length
    )
    assert torch.allclose(torch.tensor(rope.inv_freq).float(), inv_freq, rtol=1e-6, atol=0)
    assert rope.attention_factor == pytest.approx(attention_factor, rel=1e-12)
    assert rope.original_max_position_embeddings == 4096


@pytest.mark.parametrize(
    ("config", "rotary_dim", "head_dim"),
    [
        (GPTNeoXConfig(), 24, 96),
        (StableLmConfig(), 20, 80),
        (Qwen3Config(hidden_size=1024, num_attention_heads=16, head_dim=128), 128, 128),
        (DeepseekV3Config(), 64, 192),
    ],
)
def test_partial_explicit_and_latent_head_dims(config: PreTrainedConfig, rotary_dim: int, head_dim: int) -> None:
    rope = Rope.from_config(config)
    assert (rope.rotary_dim, rope.head_dim) == (rotary_dim, head_dim)


def test_each_layer_type_has_its_own() -> None:
    config = Gemma3TextConfig()
    assert Rope.from_config(config, "full_attention").theta == 1e6
    assert Rope.from_config(config, "sliding_attention").theta == 1e4
    with pytest.raises(ValueError, match=r"for each layer type \(sliding_attention, full_attention\), got None"):
        Rope.from_config(config)


@pytest.mark.parametrize(
    "config",
    [
        {"rope_theta": 5e5, "head_dim": 64, "max_position_embeddings": 8192},
        {"rope_theta": 5e5, "rope_scaling": None, "head_dim": 64, "max_position_embeddings": 8192},
        {"rope_parameters": {"rope_theta": 5e5}, "head_dim": 64, "max_position_embeddings": 8192},
    ],
)
def test_the_older_keys_of_a_config_json(config: dict[str, Any]) -> None:
    assert Rope.from_config(config) == Rope.plain(5e5, 64, 8192)


def test_an_older_scaled_config_json_with_type_instead_of_rope_type() -> None:
    config = {
        "rope_theta": 1e4,
        "rope_scaling": {"type": "linear", "factor": 4.0},
        "hidden_size": 128,
        "num_attention_heads": 2,
        "max_position_embeddings": 16384,
    }
    rope = Rope.from_config(config)
    assert rope.rope_type == "linear"
    assert rope.inv_freq[0] == 0.25


@pytest.mark.parametrize("config", [GPT2Config(), BertConfig(), BloomConfig(), MptConfig(), FalconConfig(alibi=True)])
def test_a_model_without_rope_is_a_type_error(config: PreTrainedConfig) -> None:
    with pytest.raises(TypeError, match=f"{config.model_type} has no RoPE"):
        Rope.from_config(config)


GOOD: dict[str, Any] = {"rope_theta": 1e4, "head_dim": 64, "max_position_embeddings": 4096}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rope_theta": 0}, "rope_theta must be a finite number above 0, got 0"),
        ({"rope_theta": -1e4}, "rope_theta must be"),
        ({"rope_theta": math.nan}, "rope_theta must be"),
        ({"rope_theta": "10000"}, "rope_theta must be a finite number above 0, got '10000'"),
        ({"head_dim": 63}, "rotary_dim must be even"),
        ({"partial_rotary_factor": 0.27}, "partial_rotary_factor 0.27 of head_dim 64 gives rotary_dim 17"),
        ({"partial_rotary_factor": 2.0}, "at most head_dim"),
        ({"max_position_embeddings": None}, "no max_position_embeddings"),
        ({"max_position_embeddings": 0}, "max_position_embeddings must be"),
        ({"head_dim": None}, "no head_dim, nor hidden_size"),
        ({"rope_scaling": {"rope_type": "linear", "factor": 0.5}}, "factor must be a finite number of at least 1"),
        ({"rope_scaling": {"rope_type": "linear", "factor": math.inf}}, "factor must be"),
        ({"rope_scaling": {"rope_type": "linear"}}, "need factor"),
        ({"rope_scaling": {"rope_type": "mystery", "factor": 2}}, "rope_type 'mystery' is not understood"),
        ({"rope_scaling": {"rope_type": "longrope", "factor": 2}}, "need long_factor"),
        ({"rope_scaling": "linear"}, "must be a dict, got 'linear'"),
        ({"rope_scaling_patch": {"scheme": "ntk"}}, "cannot be read"),
    ],
)
def test_an_impossible_config_is_told_which_key_is_wrong(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Rope.from_config(GOOD | changes)


def test_contradicting_numbers_make_no_rope() -> None:
    with pytest.raises(ValueError, match="must hold rotary_dim / 2 = 2 frequencies, got 1"):
        Rope((1.0,), 1e4, 4, 4, 100)
    with pytest.raises(ValueError, match="at most head_dim"):
        Rope.plain(1e4, 64, 100, head_dim=32)
