"""What vLLM is told of a scheme, by its published formulas and by Transformers."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoConfig

from rope_scaling import Rope, parse_scheme
from rope_scaling.eval.serving.overrides import vllm_overrides
from rope_scaling.eval.serving.run import read_source
from rope_scaling.extend.folder import Source
from rope_scaling.patches.offline import extend_checkpoint
from tests.extend.engine_formulas import newer, older, vllm
from tests.extend.folders import edit_json, save_checkpoint
from tests.models import TRAINED

DIM, THETA = 32, 10_000.0
SCHEMES = [
    *("linear:factor=3", "ntk:factor=4", "abf:theta=5e6,factor=4", "yarn:factor=4", "yarn:factor=4,attention_factor=1"),
    *("llama3:factor=8", "ntk-by-parts:factor=4", "yarn-turns:factor=4"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint(tmp_path_factory.mktemp("plain") / "source")


def overridden(folder: Path, values: dict[str, Any]) -> dict[str, Any]:
    """The config that vLLM has after `hf_overrides`, under Transformers 5."""
    config = AutoConfig.from_pretrained(folder)
    config.update(values)
    config.standardize_rope_params()
    config.validate_rope()
    said: dict[str, Any] = config.to_dict()
    return said


@pytest.mark.parametrize("scheme", SCHEMES)
def test_vllm_by_its_own_formula_rotates_as_the_scheme_says(scheme: str, folder: Path) -> None:
    told = vllm_overrides(Source.read(folder), parse_scheme(scheme), 2 * TRAINED)
    meant = parse_scheme(scheme)(Rope.plain(THETA, DIM, TRAINED))
    config = overridden(folder, told.values)
    for spelling in (newer(config), older(told.values)):  # the second is what vLLM takes under Transformers 4
        inv_freq, factor = vllm(*spelling, config)
        assert list(inv_freq) == pytest.approx(list(meant.inv_freq), rel=1e-6)
        assert factor == pytest.approx(meant.attention_factor, rel=1e-6)
    assert config["max_position_embeddings"] == told.length == round(told.original * parse_scheme(scheme).factor)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_overrides_are_what_extend_writes(scheme: str, folder: Path, tmp_path: Path) -> None:
    source = Source.read(folder)
    told = vllm_overrides(source, parse_scheme(scheme), TRAINED)
    extend_checkpoint(source, tmp_path / "out", parse_scheme(scheme), ["vllm"])
    written = AutoConfig.from_pretrained(tmp_path / "out").to_dict()
    own = overridden(folder, told.values)
    assert own["rope_parameters"] == written["rope_parameters"]
    assert own["max_position_embeddings"] == written["max_position_embeddings"]


def test_the_baseline_changes_nothing_but_how_far_it_reads(folder: Path) -> None:
    source = Source.read(folder)
    assert vllm_overrides(source, parse_scheme("none"), TRAINED).values == {}
    beyond = vllm_overrides(source, parse_scheme("none"), 3 * TRAINED)
    assert (beyond.values, beyond.original) == ({"max_position_embeddings": 3 * TRAINED}, TRAINED)
    ntk = vllm_overrides(source, parse_scheme("ntk:factor=2"), 3 * TRAINED)
    assert ntk.values["max_position_embeddings"] == 3 * TRAINED
    assert math.isclose(ntk.values["rope_parameters"]["rope_theta"], THETA * 2 ** (DIM / (DIM - 2)))


@pytest.mark.parametrize(
    ("scheme", "length", "told"),
    [
        ("dynamic-yarn:factor=4", TRAINED, r"scheme dynamic-yarn: .* has no words in a Transformers config"),
        ("self-extend", TRAINED, r"scheme self-extend: "),
        ("yarn:factor=2", 3 * TRAINED, "texts of 192 tokens, and vLLM has angles for the 128 tokens of the scheme"),
    ],
)
def test_what_vllm_cannot_serve_is_refused_with_the_reason(folder: Path, scheme: str, length: int, told: str) -> None:
    with pytest.raises(ValueError, match=f"--backend vllm, {told}" if told.startswith("scheme") else told):
        vllm_overrides(Source.read(folder), parse_scheme(scheme), length)


def test_an_architecture_whose_code_in_vllm_was_not_read_is_refused(tmp_path: Path) -> None:
    source = Source.read(save_checkpoint(tmp_path / "olmo", "olmo"))
    with pytest.raises(ValueError, match="vllm cannot serve this: its code for olmo was not checked"):
        vllm_overrides(source, parse_scheme("yarn:factor=2"), TRAINED)
    assert vllm_overrides(source, parse_scheme("none"), TRAINED).values == {}


def test_a_checkpoint_that_is_scaled_already_is_not_read_beyond_its_length(tmp_path: Path) -> None:
    folder = save_checkpoint(tmp_path / "scaled")
    parameters = {"rope_type": "linear", "factor": 2.0, "rope_theta": THETA}
    edit_json(folder / "config.json", rope_parameters=parameters)
    source = Source.read(folder)
    assert vllm_overrides(source, parse_scheme("none"), TRAINED).values == {}
    with pytest.raises(ValueError, match=r"scaled already .* declares 64: ask for shorter texts"):
        vllm_overrides(source, parse_scheme("none"), 2 * TRAINED)


def test_an_extended_checkpoint_is_not_scaled_twice(folder: Path, tmp_path: Path) -> None:
    extend_checkpoint(Source.read(folder), tmp_path / "out", parse_scheme("yarn:factor=2"))
    with pytest.raises(ValueError, match="is extended already, so vLLM would scale it twice"):
        read_source(str(tmp_path / "out"))
    with pytest.raises(ValueError, match="not a GGUF file"):
        read_source("model.gguf")
