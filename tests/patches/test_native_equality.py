"""Patched models against fresh ones made by Transformers from a hand-written native config with the same weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from rope_scaling import ABF, Linear, Llama3, LongRoPE, NTKByParts, Rope, Scheme, YaRN, YaRNTurns, patch_model
from rope_scaling.schemes.ramps import keep_by_turns
from tests.models import ARCHITECTURES, TRAINED, logits, tiny_config, tiny_model

FACTOR = 2.0
TOLERANCE = 4e-6


def plain(config: PreTrainedConfig) -> dict[str, Any]:
    return {key: config.rope_parameters[key] for key in config.rope_parameters if key != "rope_type"}


def pairs_of(config: PreTrainedConfig) -> torch.Tensor:
    """Trained frequencies written out anew, (rotary_dim / 2,), float64."""
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    dim = int(head_dim * config.rope_parameters.get("partial_rotary_factor", 1.0))
    return config.rope_parameters["rope_theta"] ** (-torch.arange(0, dim, 2, dtype=torch.float64) / dim)


def by_divisors(config: PreTrainedConfig, inv_freq: torch.Tensor, attention_factor: float) -> dict[str, Any]:
    divisors = (pairs_of(config) / inv_freq.double()).tolist()
    return plain(config) | {
        "rope_type": "longrope",
        "factor": FACTOR,
        "short_factor": divisors,
        "long_factor": divisors,
        "attention_factor": attention_factor,
        "original_max_position_embeddings": TRAINED,
    }


def by_native_type(config: PreTrainedConfig, rope_type: str, **options: Any) -> dict[str, Any]:
    said = plain(config) | {"rope_type": rope_type, "factor": FACTOR, **options}
    if rope_type != "linear":
        said["original_max_position_embeddings"] = TRAINED
    if config.model_type != "phi3":
        return said
    # phi3 takes no type but longrope: the same frequencies, from Transformers' own function on a llama config
    llama = tiny_config("llama", rope_parameters={k: v for k, v in said.items() if k != "partial_rotary_factor"})
    inv_freq, attention_factor = ROPE_INIT_FUNCTIONS[rope_type](llama, torch.device("cpu"))
    return by_divisors(config, inv_freq, attention_factor)


def ntk(config: PreTrainedConfig) -> dict[str, Any]:
    dim = 2 * len(pairs_of(config))
    theta = config.rope_parameters["rope_theta"] * FACTOR ** (dim / (dim - 2))
    return plain(config) | {"rope_type": "default", "rope_theta": theta}


def by_parts(attention_factor: float) -> Callable[[PreTrainedConfig], dict[str, Any]]:
    def native(config: PreTrainedConfig) -> dict[str, Any]:
        theta = pairs_of(config)
        turns = TRAINED * theta / (2 * torch.pi)
        keep = ((turns - 1) / 31).clamp(0, 1)
        return by_divisors(config, (1 - keep) * theta / FACTOR + keep * theta, attention_factor)

    return native


YARN_FACTOR = 0.1 * torch.log(torch.tensor(FACTOR, dtype=torch.float64)).item() + 1
CASES: dict[str, tuple[str | Scheme, Callable[[PreTrainedConfig], dict[str, Any]]]] = {
    "none": ("none", lambda config: dict(config.rope_parameters)),
    "linear": ("linear", lambda config: by_native_type(config, "linear")),
    "ntk": ("ntk", ntk),
    "abf": (ABF(theta=5e6), lambda config: plain(config) | {"rope_type": "default", "rope_theta": 5e6}),
    "llama3": (
        "llama3",
        lambda config: by_native_type(config, "llama3", low_freq_factor=1.0, high_freq_factor=4.0),
    ),
    "yarn": ("yarn", lambda config: by_native_type(config, "yarn")),
    "yarn with options": (
        YaRN(FACTOR, beta_fast=8.0, beta_slow=2.0, truncate=False, attention_factor=1.5),
        lambda config: by_native_type(
            config, "yarn", beta_fast=8.0, beta_slow=2.0, truncate=False, attention_factor=1.5
        ),
    ),
    "ntk-by-parts": ("ntk-by-parts", by_parts(1.0)),
    "yarn-turns": ("yarn-turns", by_parts(YARN_FACTOR)),
}


def native_twin(model_type: str, case: str) -> torch.Tensor:
    """Logits of a model made by Transformers with the native parameters and the same weights."""
    config = tiny_config(model_type)
    parameters = CASES[case][1](config)
    config = tiny_config(model_type, rope_parameters=parameters, max_position_embeddings=int(TRAINED * FACTOR))
    return logits(tiny_model(config))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("model_type", ARCHITECTURES)
def test_a_patched_model_is_its_native_twin(model_type: str, case: str, tmp_path: Path) -> None:
    model = tiny_model(model_type)
    before = logits(model)
    patch_model(model, CASES[case][0], factor=FACTOR)
    after = logits(model)
    twin = native_twin(model_type, case)
    assert (after - twin).abs().max() <= TOLERANCE
    assert torch.equal(before, after) == (case == "none")

    model.save_pretrained(tmp_path)
    reloaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert torch.equal(logits(reloaded), after)
    assert reloaded.config.max_position_embeddings == int(TRAINED * FACTOR)


@pytest.mark.parametrize("model_type", ARCHITECTURES)
def test_longrope_by_given_divisors(model_type: str, tmp_path: Path) -> None:
    config = tiny_config(model_type)
    divisors = [1.0 + 0.5 * i for i in range(len(pairs_of(config)))]
    model = patch_model(tiny_model(model_type), LongRoPE(divisors, factor=FACTOR))
    native = by_divisors(config, pairs_of(config) / torch.tensor(divisors), (1 + 1 / 6) ** 0.5)  # √(1 + ln 2 / ln 64)
    twin = tiny_model(tiny_config(model_type, rope_parameters=native, max_position_embeddings=2 * TRAINED))
    assert (logits(model) - logits(twin)).abs().max() <= TOLERANCE
    model.save_pretrained(tmp_path)
    assert torch.equal(logits(AutoModelForCausalLM.from_pretrained(tmp_path)), logits(model))


def test_the_live_frequencies_are_those_of_the_scheme() -> None:
    rope = Rope.plain(1e4, 32, TRAINED)
    for scheme in (Linear(4.0), NTKByParts(4.0), YaRN(4.0), YaRNTurns(4.0), Llama3(4.0)):
        model = patch_model(tiny_model(), scheme)
        live = model.get_submodule("model.rotary_emb").get_buffer("inv_freq")
        assert torch.allclose(live, torch.tensor(scheme(rope).inv_freq), rtol=1e-6, atol=0)


def test_the_ramp_is_exercised_by_the_tiny_geometry() -> None:
    keep = keep_by_turns(Rope.plain(1e4, 32, TRAINED), 1.0, 32.0)
    assert any(0 < k < 1 for k in keep)
    assert keep[-1] == 0
