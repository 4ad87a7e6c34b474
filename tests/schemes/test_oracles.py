"""Every scheme against frequency tables computed from the papers' formulae, and against Transformers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from rope_scaling.rope import Rope
from rope_scaling.schemes import NTK, Dynamic, Linear, Llama3, LongRoPE, NoScaling, NTKByParts, Scheme, YaRN, YaRNTurns

ORACLES = json.loads((Path(__file__).parent.parent / "data" / "frequencies.json").read_text())
# how the oracle's name of a scheme begins -> the scheme
BY_PREFIX: dict[str, Callable[[float], Scheme]] = {
    "default": NoScaling,
    "linear": Linear,
    "ntk-by-parts (paper ramp": NTKByParts,
    "ntk": NTK,
    "yarn (dimension ramp, floor/ceil": YaRN,
    "yarn (dimension ramp, no rounding": lambda factor: YaRN(factor, truncate=False),
    "yarn (paper ramp": YaRNTurns,
    "llama3 (low 1, high 4)": Llama3,
    "dynamic ntk": NTK,
    "dynamic yarn": YaRN,
    "transformers 'dynamic'": Dynamic,
}


def scheme_of(row: dict[str, Any]) -> Scheme:
    prefix = next(prefix for prefix in BY_PREFIX if row["scheme"].startswith(prefix))
    return BY_PREFIX[prefix](row["params"]["factor"])


def rope_of(params: dict[str, Any]) -> Rope:
    return Rope.plain(params["theta"], params["rotary_dim"], params["original_max_position_embeddings"])


def name_of(row: dict[str, Any]) -> str:
    return f"{row['scheme'][:40]} d{row['params']['rotary_dim']} s{row['params']['factor']}"


@pytest.mark.parametrize("row", ORACLES, ids=name_of)
def test_frequencies_are_the_oracles_in_float64_and_float32(row: dict[str, Any]) -> None:
    scaled = scheme_of(row)(rope_of(row["params"]), row["params"].get("length"))
    expected = torch.tensor(row["inv_freq"], dtype=torch.float64)
    exact = torch.tensor(scaled.inv_freq, dtype=torch.float64)
    assert torch.allclose(exact, expected, rtol=1e-12, atol=0)
    assert torch.allclose(exact.float().double(), expected, rtol=1e-6, atol=0)
    assert scaled.attention_factor == pytest.approx(row["attention_factor"], rel=1e-12)


def test_every_row_of_the_oracle_file_is_compared() -> None:
    assert len(ORACLES) == 60
    assert {prefix for prefix in BY_PREFIX if any(r["scheme"].startswith(prefix) for r in ORACLES)} == set(BY_PREFIX)


DIVISORS = [1.0 + 0.25 * i for i in range(32)]
GEOMETRIES = [(64, 1e4, 2048, 4.0), (64, 1e5, 8192, 2.0), (64, 5e5, 8192, 16.0)]
NATIVE: list[tuple[str, Callable[[float], Scheme], dict[str, Any]]] = [
    ("linear", Linear, {}),
    ("llama3", Llama3, {"low_freq_factor": 1.0, "high_freq_factor": 4.0}),
    ("llama3", lambda s: Llama3(s, 2.0, 8.0), {"low_freq_factor": 2.0, "high_freq_factor": 8.0}),
    ("yarn", YaRN, {}),
    (
        "yarn",
        lambda s: YaRN(s, beta_fast=16.0, beta_slow=2.0, attention_factor=1.5, truncate=False),
        {"beta_fast": 16.0, "beta_slow": 2.0, "attention_factor": 1.5, "truncate": False},
    ),
    ("longrope", lambda s: LongRoPE(DIVISORS, factor=s), {"short_factor": DIVISORS, "long_factor": DIVISORS}),
]


@pytest.mark.parametrize(("rotary_dim", "theta", "length", "factor"), GEOMETRIES)
@pytest.mark.parametrize(("rope_type", "make", "options"), NATIVE)
def test_transformers_own_functions_agree(
    rope_type: str,
    make: Callable[[float], Scheme],
    options: dict[str, Any],
    rotary_dim: int,
    theta: float,
    length: int,
    factor: float,
) -> None:
    parameters = {"rope_type": rope_type, "rope_theta": theta, "factor": factor, **options}
    if rope_type != "linear":
        parameters["original_max_position_embeddings"] = length
    config = LlamaConfig(head_dim=rotary_dim, max_position_embeddings=int(length * factor), rope_parameters=parameters)
    theirs, attention_factor = ROPE_INIT_FUNCTIONS[rope_type](config, torch.device("cpu"))
    ours = make(factor)(Rope.plain(theta, rotary_dim, length))
    assert torch.allclose(torch.tensor(ours.inv_freq).float(), theirs, rtol=1e-6, atol=0)
    assert ours.attention_factor == pytest.approx(attention_factor, rel=1e-12)


@pytest.mark.parametrize("tokens", [1000, 2048, 2049, 5000, 16384])
def test_dynamic_agrees_with_transformers_at_every_length(tokens: int) -> None:
    parameters = {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 4.0}
    config = LlamaConfig(head_dim=64, max_position_embeddings=2048, rope_parameters=parameters)
    theirs, _ = ROPE_INIT_FUNCTIONS["dynamic"](config, torch.device("cpu"), seq_len=tokens)
    ours = Dynamic(4.0)(Rope.plain(1e4, 64, 2048), tokens)
    assert torch.allclose(torch.tensor(ours.inv_freq).float(), theirs, rtol=1e-6, atol=0)
