"""Each engine, by its own published formula, computes from our config what the scheme says, or is refused."""

from __future__ import annotations

import functools
import json
import math
import re
import shlex
import tempfile
from pathlib import Path
from typing import Any

import pytest

from rope_scaling import Rope, ScaledRope, parse_scheme
from rope_scaling.extend.engines import ENGINES, Target
from rope_scaling.extend.folder import Source
from rope_scaling.extend.serving import Serving, asked_engines, plan_serving
from rope_scaling.patches.offline import extend_checkpoint
from tests.extend.engine_formulas import (
    FORMULAS,
    READS_NEWER,
    READS_OLDER,
    Config,
    Rotation,
    UnableError,
    newer,
    older,
    sglang_index,
    vllm,
)
from tests.models import tiny_config

LENGTH, THETA, DIM = 8192, 5e5, 32
DIVISORS = [1 + i / 4 for i in range(DIM // 2)]
SCHEMES = [
    "none:factor=2",
    "linear:factor=3",
    "ntk:factor=4",
    "abf:theta=5e6,factor=4",
    "yarn:factor=4",
    "yarn:factor=1.3",
    "yarn:factor=4,beta_fast=16,beta_slow=2",
    "yarn:factor=4,attention_factor=1.0",
    "yarn:factor=4,truncate=false",
    "llama3:factor=8",
    "ntk-by-parts:factor=4",
    "yarn-turns:factor=4",
    f"longrope:long_factor={DIVISORS},factor=4",
    f"longrope:long_factor={DIVISORS},factor=4,attention_factor=1.1",
]
TYPE_OF = {"tgi": "qwen2"}
"""The architecture that an engine is asked for where it is not a llama."""


@functools.cache
def extended(scheme: str, model_type: str) -> tuple[dict[str, Any], dict[str, Serving]]:
    """The config that is written for all engines, and what each is said to do."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "source"
        parameters = {"rope_type": "default", "rope_theta": THETA}
        config = tiny_config(model_type, max_position_embeddings=LENGTH, rope_parameters=parameters)
        config.save_pretrained(folder)
        extension, _ = extend_checkpoint(Source.read(folder), folder.parent / "out", parse_scheme(scheme), ("all",))
        written = json.loads((folder.parent / "out" / "config.json").read_text(encoding="utf-8"))
    return written, {one.engine: one for one in extension.served}


def meant(scheme: str) -> ScaledRope:
    return parse_scheme(scheme)(Rope.plain(THETA, DIM, LENGTH))


def is_meant(found: Rotation, scheme: str) -> bool:
    inv_freq, factor = found
    scaled = meant(scheme)
    near = functools.partial(math.isclose, rel_tol=1e-6)
    return all(map(near, inv_freq, scaled.inv_freq)) and near(factor, scaled.attention_factor)


def by_engine(engine: str, config: Config) -> list[Rotation]:
    """What an engine computes, from each spelling that some release of it reads."""
    readers = [newer] * (engine in READS_NEWER) + [older] * (engine in READS_OLDER)
    return [FORMULAS[engine](*read(config), config) for read in readers]


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("engine", FORMULAS)
def test_an_engine_rotates_as_the_scheme_says_or_is_refused(engine: str, scheme: str) -> None:
    config, served = extended(scheme, TYPE_OF.get(engine, "llama"))
    if served[engine].refusal is None:
        found = by_engine(engine, config)
        assert found
        assert all(is_meant(one, scheme) for one in found)
    else:
        assert not can_be_served(engine, config, scheme), f"refused for no reason: {served[engine].refusal}"


def can_be_served(engine: str, config: Config, scheme: str) -> bool:
    try:
        return all(is_meant(one, scheme) for one in by_engine(engine, config))
    except UnableError:
        return False


def test_each_engine_serves_some_schemes_and_refuses_others() -> None:
    told = {
        engine: [extended(scheme, TYPE_OF.get(engine, "llama"))[1][engine].refusal is None for scheme in SCHEMES]
        for engine in FORMULAS
    }
    assert {engine: sum(able) for engine, able in told.items()} == {
        "vllm": 14,
        "sglang": 10,
        "llama.cpp": 7,
        "tgi": 6,
        "exllama": 10,
    }


@pytest.mark.parametrize("scheme", SCHEMES)
def test_vllm_is_told_whether_or_not_it_honours_attention_factor(scheme: str) -> None:
    config, _ = extended(scheme, "llama")
    for read in (newer, older):
        assert is_meant(vllm(*read(config), config, honours_attention_factor=True), scheme)
        assert is_meant(vllm(*read(config), config, honours_attention_factor=False), scheme)


def test_without_our_words_vllm_would_take_another_temperature() -> None:
    config, _ = extended("yarn:factor=4,attention_factor=1.0", "llama")
    theta, parameters = newer(config)
    parameters.pop("attn_factor")
    assert vllm(theta, parameters, config)[1] == pytest.approx(0.1 * math.log(4) + 1)


def test_sglang_gives_position_l_the_angle_of_position_0() -> None:
    short = list(range(LENGTH))
    rows = short + list(range(4 * LENGTH))  # the position whose angle each row holds
    assert rows[sglang_index([LENGTH], LENGTH)[0]] == 0
    assert rows[sglang_index([LENGTH - 1], LENGTH)[0]] == LENGTH - 1
    assert rows[sglang_index([LENGTH + 1], LENGTH)[0]] == LENGTH + 1
    assert "position L" in str(extended("ntk-by-parts:factor=4", "llama")[1]["sglang"].refusal)


def target(model_type: str = "llama", **parameters: object) -> Target:
    said = {"rope_type": "yarn", "factor": 4.0, "rope_theta": THETA, "original_max_position_embeddings": LENGTH}
    return Target(model_type, said | parameters, 4 * LENGTH, LENGTH)


def test_an_architecture_that_was_not_checked_is_refused() -> None:
    for name in FORMULAS:
        assert "was not checked (checked: " in str(ENGINES[name].refusal(target("deepseek_v3")))


def test_a_rope_for_each_layer_type_is_refused() -> None:
    nested = Target("gemma3_text", {"full_attention": {}}, 4 * LENGTH, LENGTH, is_plain_text=False)
    _, served = plan_serving(nested, ["all"])
    assert [one.engine for one in served if one.refusal is None] == ["transformers"]


def test_an_engine_asked_for_by_name_stops_the_whole() -> None:
    with pytest.raises(ValueError, match=r"sglang cannot serve this: its longrope .* nothing was written"):
        plan_serving(target(rope_type="longrope", attention_factor=1.0), ["sglang"])


def test_llama3_reaches_llama_cpp_only_where_its_converter_knows_it() -> None:
    parameters = {"rope_type": "llama3", "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    assert ENGINES["llama.cpp"].refusal(target("llama", **parameters)) is None
    assert "would not be scaled" in str(ENGINES["llama.cpp"].refusal(target("qwen2", **parameters)))


def test_transformers_is_always_written_for() -> None:
    assert asked_engines([]) == ["transformers"]
    assert asked_engines(["vllm"]) == ["transformers", "vllm"]
    assert asked_engines(["all"]) == list(ENGINES)
    with pytest.raises(ValueError, match="unknown engine 'ollama'"):
        asked_engines(["ollama"])


@pytest.mark.parametrize(
    ("engine", "command"),
    [
        ("vllm", "vllm serve OUT --max-model-len 32768"),
        ("sglang", "python -m sglang.launch_server --model-path OUT --context-length 32768"),
        ("llama.cpp", "llama-server -m OUT.gguf -c 32768"),
        ("tgi", "text-generation-launcher --model-id OUT --max-input-tokens 32767 --max-total-tokens 32768"),
    ],
)
def test_the_serving_command_is_exact(engine: str, command: str) -> None:
    assert ENGINES[engine].command(target(), "OUT").endswith(command)


def test_vllm_can_be_told_of_the_source_itself() -> None:
    _, served = plan_serving(target(attention_factor=1.0), ["vllm"])
    flags = shlex.split(str(served[1].on_source))
    assert flags[:4] == ["vllm", "serve", "SOURCE", "--hf-overrides"]
    assert flags[5:] == ["--max-model-len", "32768"]
    overrides = json.loads(flags[4])
    assert overrides["max_position_embeddings"] == 4 * LENGTH
    config = overrides | {"head_dim": DIM}
    assert is_meant(vllm(*newer(config), config), "yarn:factor=4,attention_factor=1.0")


def test_words_of_one_engine_do_not_reach_those_who_did_not_ask() -> None:
    words, _ = plan_serving(target(attention_factor=1.0), [])
    assert words == {}
    words, _ = plan_serving(target(attention_factor=1.0), ["vllm"])
    assert words == {"attn_factor": pytest.approx(1 / (0.1 * math.log(4) + 1))}


def test_the_table_in_the_docs_says_what_the_code_does() -> None:
    page = (Path(__file__).parent.parent.parent / "docs" / "extend.md").read_text(encoding="utf-8")
    for name, engine in ENGINES.items():
        if engine.read:
            row = re.search(rf"^\| {re.escape(name)} \| ([^|]*) \|", page, re.MULTILINE)
            assert row, f"docs/extend.md has no row for {name}"
            assert set(row[1].split(", ")) == engine.read
