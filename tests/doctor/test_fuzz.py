"""Whatever the files hold: findings, or a ValueError with a message; never another error, and within a bounded time."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console
from transformers.utils import logging

from rope_scaling.doctor import Facts, examine, facts_of_config
from rope_scaling.doctor.facts import Tensors
from rope_scaling.doctor.gguf_file import as_config, read_gguf
from rope_scaling.doctor.jsonfile import parse_json
from rope_scaling.doctor.report import as_json
from rope_scaling.doctor.terminal import print_page
from rope_scaling.doctor.weights import read_header
from tests.doctor.cases import CASES, METADATA, llama
from tests.doctor.test_gguf import write
from tests.test_config_fuzz import CONFIGS, broken

SETTINGS = settings(
    derandomize=True, deadline=20_000, max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
NUMBERS = st.sampled_from([0, -1, 0.5, 1, 7, 4096, 2**31, 2**63, 10**400, 1e300, 1e-300, math.nan, math.inf, -math.inf])
LEAVES = st.none() | st.booleans() | NUMBERS | st.floats() | st.integers() | st.text(max_size=4)
JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
KEYS = (
    *("model_type", "max_position_embeddings", "rope_theta", "head_dim", "hidden_size", "num_attention_heads"),
    *("rope_scaling", "rope_parameters", "partial_rotary_factor", "sliding_window", "layer_types", "auto_map", "alibi"),
    *("original_max_position_embeddings", "text_config", "rope_scaling_patch", "qk_rope_head_dim", "no_rope_layers"),
    *("num_hidden_layers", "use_sliding_window", "num_key_value_heads", "thinker_config", "vocab_size"),
)
PARAMETERS = (
    *("rope_type", "type", "factor", "rope_theta", "original_max_position_embeddings", "attention_factor", "mscale"),
    *("mscale_all_dim", "beta_fast", "beta_slow", "truncate", "short_factor", "long_factor", "low_freq_factor"),
    *("high_freq_factor", "partial_rotary_factor", "full_attention", "sliding_attention"),
)
TYPES = st.sampled_from(["default", "linear", "dynamic", "yarn", "longrope", "llama3", "su", "proportional", "mrope"])
MODELS = st.sampled_from(
    ["llama", "phi3", "gemma3_text", "deepseek_v3", "gpt_neox", "gpt_oss", "mistral", "gpt2", "qwen2"]
)
INNER = st.fixed_dictionaries({}, optional=dict.fromkeys(PARAMETERS, JSON | TYPES))


@pytest.fixture(autouse=True)
def _no_warnings_from_transformers() -> Iterator[None]:
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    yield
    logging.set_verbosity(verbosity)


def attempt(read: Callable[..., Any], *arguments: Any) -> Any:
    """What was read, or the message of the ValueError."""
    try:
        return read(*arguments)
    except ValueError as error:
        return str(error)


def whole_page(facts: Facts) -> None:
    found = examine(facts)
    out = StringIO()
    print_page(Console(file=out, width=80), facts, found)
    lines = out.getvalue().split("\n")
    assert all(cell_len(line) <= 80 and line.isprintable() for line in lines)
    assert json.loads(as_json(facts, found))["exit_code"] in (0, 1, 2)


@SETTINGS
@given(broken())
def test_a_sound_config_with_one_or_two_keys_broken(case: tuple[str, dict[str, Any], set[str]]) -> None:
    name, config, _ = case
    facts = facts_of_config({"model_type": "llama", **config}, wished=8192)
    whole_page(facts)
    if name != "nested":
        assert [one.code for one in examine(facts) if one.code == "unreadable-rope" and not one.symptom.seen] == []


@SETTINGS
@given(st.fixed_dictionaries({}, optional=dict.fromkeys(KEYS, JSON | INNER | MODELS)), JSON, JSON, JSON)
@example({"model_type": "llama", "num_hidden_layers": 10**12, "rope_scaling": {"type": "yarn"}}, None, None, None)
@example(llama(rope_scaling={"type": "yarn", "factor": 4.0, "attention_factor": 1e154}), None, None, None)
@example({"model_type": "llama", "text_config": []}, None, None, None)
@example(llama(rope_scaling={"type": "yarn", "factor": 4.0, "beta_slow": -1}), None, None, None)
@example(llama(rope_parameters={"full_attention": {"rope_type": "yarn"}, "x": 1}), None, None, None)
@example({"rope_scaling_patch": {"scheme": []}, "rope_theta": 1e4}, None, None, None)
def test_a_config_of_anything(config: dict[str, Any], tokenizer: Any, generation: Any, length: Any) -> None:
    facts = facts_of_config(
        config,
        wished=4096,
        tokenizer=tokenizer if isinstance(tokenizer, dict) else {"model_max_length": tokenizer},
        generation=generation if isinstance(generation, dict) else {"max_length": generation},
        truncation={"max_length": length},
        tensors=Tensors(inv_freq={"rotary_emb.inv_freq": (1.0, 0.1)}, shapes={"layers.0.q_proj.weight": (3, 5)}),
    )
    whole_page(facts)


@SETTINGS
@given(st.dictionaries(st.sampled_from([*METADATA, "llama.rope.scaling.type", "llama.rope.scaling.factor"]), JSON))
def test_metadata_of_anything(metadata: dict[str, Any]) -> None:
    metadata = METADATA | metadata
    whole_page(Facts("x.gguf", as_config(metadata), gguf=metadata, wished=4096))
    whole_page(facts_of_config(CONFIGS["yarn"] | {"model_type": "llama"}, gguf=metadata))


@SETTINGS
@given(st.binary(max_size=60) | st.text(alphabet='{}[]",:\\ aN1e-', max_size=60).map(str.encode))
def test_bytes_that_are_called_json(content: bytes) -> None:
    read = attempt(parse_json, content, "config.json")
    if isinstance(read, str):
        assert "config.json" in read
    else:
        whole_page(facts_of_config(read[0]))


@SETTINGS
@given(st.binary(max_size=80), st.integers(0, 2**64 - 1) | st.integers(0, 100))
def test_bytes_that_are_called_safetensors(tmp_path: Path, content: bytes, length: int) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(struct.pack("<Q", length) + content)
    assert attempt(read_header, path) != ""  # a header, or a message


@SETTINGS
@given(st.data())
def test_a_gguf_file_with_bytes_changed(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("gguf")
    content = bytearray(write(folder / "sound.gguf").read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, min(400, len(content) - 1)))
        content[place] = data.draw(st.integers(0, 255))
    cut = data.draw(st.none() | st.integers(0, len(content)))
    path = folder / "broken.gguf"
    path.write_bytes(bytes(content[:cut]))
    read = attempt(read_gguf, path)
    if isinstance(read, str):
        assert "broken.gguf" in read
    else:
        whole_page(Facts("broken.gguf", as_config(read[0]), gguf=read[0]))


@pytest.mark.parametrize("code", CASES)
def test_the_page_of_every_case_fits_80_columns(code: str) -> None:
    whole_page(CASES[code][0]())
