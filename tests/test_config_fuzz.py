"""Configs with one or two things wrong: an error that names the key, or the frequencies that the papers give.

The oracle is `tests/papers.py`, and, where Transformers takes the config at all, the rotary module that it makes of it.
"""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding
from transformers.utils import logging

from rope_scaling import patch_model, rope_of
from rope_scaling.config import max_position_embeddings, read_plain_rope, read_rope
from rope_scaling.rope import Rope
from tests.papers import by_the_papers
from tests.patches.state import assert_same, everything, rotary

PAIRS = 8
SIZES = {"head_dim": 2 * PAIRS, "hidden_size": 32, "num_attention_heads": 2, "max_position_embeddings": 256}
LISTS = {"short_factor": [1.0 + i / 8 for i in range(PAIRS)], "long_factor": [2.0 + i for i in range(PAIRS)]}
TYPES: dict[str, dict[str, Any]] = {
    "default": {"rope_theta": 1e4},
    "partial": {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5},
    "linear": {"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0},
    "dynamic": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 4.0},
    "llama3": {
        "rope_type": "llama3",
        "rope_theta": 5e5,
        "factor": 8.0,
        "original_max_position_embeddings": 64,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
    },
    "yarn": {
        "rope_type": "yarn",
        "rope_theta": 1e4,
        "factor": 4.0,
        "original_max_position_embeddings": 64,
        "beta_fast": 32.0,
        "beta_slow": 1.0,
        "truncate": True,
        "attention_factor": 1.25,
    },
    "deepseek": {
        "rope_type": "yarn",
        "rope_theta": 1e4,
        "factor": 4.0,
        "original_max_position_embeddings": 64,
        "mscale": 1.0,
        "mscale_all_dim": 0.5,
    },
    "longrope": {"rope_type": "longrope", "rope_theta": 1e4, "original_max_position_embeddings": 64, **LISTS},
}
CONFIGS: dict[str, dict[str, Any]] = {
    **{name: SIZES | {"rope_parameters": parameters} for name, parameters in TYPES.items()},
    "legacy": SIZES | {"rope_theta": 1e4, "rope_scaling": {"type": "linear", "factor": 4.0}},
    "both": SIZES
    | {"rope_theta": 1e4, "rope_scaling": {"type": "linear", "factor": 4.0}, "rope_parameters": TYPES["linear"]},
    "nested": SIZES | {"rope_parameters": {"full_attention": TYPES["yarn"], "sliding_attention": TYPES["default"]}},
}
NUMBERS = [0, -1, 0.5, 1, 1.0, 2, 7, 16, 64.0, 64.5, 1e30, 1e300, 1e-300, 10**400, -(10**400), math.nan, math.inf]
JUNK = [None, True, False, "8", "", "mystery", "yarn", [], [1.0], ["x"] * PAIRS, [math.nan] * PAIRS, {}, {"a": {}}]
GONE = object()
VALUES = st.sampled_from([*NUMBERS, *JUNK, GONE]) | st.floats() | st.integers() | st.text(max_size=3)

QUICK = settings(derandomize=True, deadline=None, max_examples=400)


@pytest.fixture(autouse=True)
def _no_warnings_from_transformers() -> Iterator[None]:
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    yield
    logging.set_verbosity(verbosity)


def paths(config: Mapping[str, Any], above: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Every key of a config, those inside its dicts too."""
    found = []
    for key, value in config.items():
        found.append((*above, key))
        if isinstance(value, Mapping):
            found += paths(value, (*above, key))
    return found


def changed(config: dict[str, Any], changes: list[tuple[tuple[str, ...], Any]]) -> dict[str, Any]:
    config = copy.deepcopy(config)
    for path, value in changes:
        inner: Any = config
        for key in path[:-1]:
            inner = inner.get(key) if isinstance(inner, dict) else None
        if not isinstance(inner, dict):
            continue  # the other change has replaced the dict that this one is in
        if value is GONE:
            inner.pop(path[-1], None)
        else:
            inner[path[-1]] = copy.deepcopy(value)
    return config


@st.composite
def broken(draw: st.DrawFn, names: tuple[str, ...] = tuple(CONFIGS), most: int = 2) -> tuple[str, Any, set[str]]:
    """(name, config, the keys that were changed in it)."""
    name = draw(st.sampled_from(names))
    extra = [("head_dim",), ("original_max_position_embeddings",), ("partial_rotary_factor",), ("rope_scaling",)]
    where = st.sampled_from([*paths(CONFIGS[name]), *extra])
    changes = draw(st.lists(st.tuples(where, VALUES), min_size=1, max_size=most))
    return name, changed(CONFIGS[name], changes), {path[-1] for path, _ in changes}


def reading(config: Any, layer_type: str | None, *, length: float | None = None) -> Rope | Exception:
    try:
        return read_rope(config, layer_type, length=length)
    except (TypeError, ValueError) as error:
        return error


def parameters_of(config: dict[str, Any], layer_type: str | None) -> dict[str, Any]:
    found = config.get("rope_scaling") or config.get("rope_parameters") or {}
    return found[layer_type] if layer_type is not None and layer_type in found else found


def assert_is(rope: Rope, inv_freq: list[float], attention_factor: float, tolerance: float = 1e-9) -> None:
    assert rope.inv_freq == pytest.approx(inv_freq, rel=tolerance, abs=0)
    assert rope.attention_factor == pytest.approx(attention_factor, rel=tolerance)
    assert all(math.isfinite(f) and f > 0 for f in rope.inv_freq)


@pytest.mark.parametrize("name", CONFIGS)
def test_what_is_fuzzed_reads_rightly_before_it_is_broken(name: str) -> None:
    layer_type = "full_attention" if name == "nested" else None
    config = CONFIGS[name]
    assert_is(read_rope(config, layer_type), *by_the_papers(config, parameters_of(config, layer_type)))


@QUICK
@given(broken())
@example(("yarn", changed(CONFIGS["yarn"], [(("rope_parameters", "truncate"), None)]), {"truncate"}))
@example(("longrope", changed(CONFIGS["longrope"], [(("rope_parameters", "factor"), 1.0)]), {"factor"}))
@example(("yarn", changed(CONFIGS["yarn"], [(("rope_parameters", "rope_theta"), 0.5)]), {"rope_theta"}))
@example(
    ("linear", changed(CONFIGS["linear"], [(("rope_scaling",), {"type": "linear", "factor": 2})]), {"rope_scaling"})
)
def test_a_broken_config_is_named_or_read_as_the_papers_say(case: tuple[str, dict[str, Any], set[str]]) -> None:
    name, config, keys = case
    layer_type = "full_attention" if name == "nested" else None
    rope = reading(config, layer_type)
    if isinstance(rope, Exception):
        assert any(key in str(rope) for key in keys), f"{rope} names none of {keys}"
    else:
        assert_is(rope, *by_the_papers(config, parameters_of(config, layer_type)))
        assert read_plain_rope(config, layer_type).inv_freq[0] == 1
        assert rope.original_max_position_embeddings <= 2**1024
        assert max_position_embeddings(config) == config["max_position_embeddings"]


def made_by_transformers(config: dict[str, Any]) -> LlamaConfig | None:
    with contextlib.suppress(Exception):  # what Transformers itself refuses is not ours to read
        made = LlamaConfig(
            **copy.deepcopy(config), vocab_size=17, intermediate_size=8, num_hidden_layers=1, num_key_value_heads=1
        )
        with torch.device("meta"):
            model = LlamaForCausalLM(made)
        if sum(tensor.numel() for tensor in [*model.parameters(), *model.buffers()]) < 10**6:
            with torch.device("cpu"):
                LlamaRotaryEmbedding(made)  # the meta device hides some errors
            return made  # else too large to try here
    return None


ONE_ROPE = tuple(name for name in CONFIGS if name not in ("nested", "partial"))  # llama knows neither


@QUICK
@given(broken(ONE_ROPE))
def test_what_transformers_takes_is_read_as_transformers_reads_it(case: tuple[str, dict[str, Any], set[str]]) -> None:
    config = None if "partial_rotary_factor" in case[2] else made_by_transformers(case[1])
    if config is None:
        return
    module = LlamaRotaryEmbedding(config)
    # the length at which a module stands when it is made
    rope = reading(config, None, length=1 if config.rope_parameters["rope_type"] == "longrope" else None)
    if isinstance(rope, Rope):
        assert torch.allclose(torch.tensor(rope.inv_freq), module.get_buffer("inv_freq"), rtol=1e-5, atol=0)
        assert rope.attention_factor == pytest.approx(module.attention_scaling, rel=1e-6)


def state(model: LlamaForCausalLM) -> dict[str, Any]:
    found = everything(model)  # a theta below 0 makes frequencies that are not even equal to themselves
    return found | {"buffers": {name: buffer.nan_to_num(1e30) for name, buffer in found["buffers"].items()}}


@settings(derandomize=True, deadline=None, max_examples=100)
@given(broken(ONE_ROPE, most=1))
def test_a_model_of_a_broken_config_is_patched_rightly_or_left_alone(
    case: tuple[str, dict[str, Any], set[str]],
) -> None:
    config = made_by_transformers(case[1])
    if config is None:
        return
    model = LlamaForCausalLM(config)
    before = state(model)
    try:
        patch_model(model, "linear", factor=2, on_scaled="compose")
    except (TypeError, ValueError):
        assert_same(state(model), before)
    else:
        resolved = made_by_transformers(case[1]).to_dict()  # type: ignore[union-attr]
        inv_freq, attention_factor = by_the_papers(resolved, resolved["rope_parameters"])
        assert_is(rope_of(model), [f / 2 for f in inv_freq], attention_factor, 1e-6)
        x = torch.zeros(1, 1, 1)
        cos, sin = rotary(model)(x, torch.arange(4)[None])
        assert bool(cos.isfinite().all() and sin.isfinite().all())
