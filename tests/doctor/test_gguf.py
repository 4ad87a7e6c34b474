"""GGUF files: written with llama.cpp's own package, read within bounds."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
from gguf import GGUFWriter

import rope_scaling.doctor.gguf_file
from rope_scaling.doctor import examine, facts_of
from rope_scaling.doctor.gguf_file import check_bounds, read_gguf
from rope_scaling.doctor.ropes import declared_ropes
from rope_scaling.rope import Rope
from tests.doctor.cases import LLAMA
from tests.models import tiny_config, tiny_model
from tests.papers import by_the_papers
from tests.patches.gguf_file import write_gguf


def write(path: Path, **keys: Any) -> Path:
    """A file without tensors whose keys (`__` for dots) stand after the architecture's name."""
    writer = GGUFWriter(path, "llama")
    said = {"context_length": 4096, "embedding_length": 512, "attention__head_count": 8, "rope__freq_base": 1e4} | keys
    for key, value in said.items():
        name = f"llama.{key.replace('__', '.')}"
        if isinstance(value, str):
            writer.add_string(name, value)
        elif isinstance(value, float):
            writer.add_float32(name, value)
        else:
            writer.add_uint32(name, value)
    writer.add_array("tokenizer.ggml.tokens", [f"token {i}" for i in range(500)])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def codes(path: Path, beside: Path | None = None) -> list[str]:
    return [one.code for one in examine(facts_of(str(path), beside=None if beside is None else str(beside)))]


@pytest.fixture
def config_folder(tmp_path: Path) -> Path:
    inner = tmp_path / "checkpoint"
    inner.mkdir()
    (inner / "config.json").write_text(json.dumps(LLAMA))
    return inner


def test_a_file_is_read_as_llama_cpp_reads_it(tmp_path: Path) -> None:
    yarn = {"rope__scaling__type": "yarn", "rope__scaling__factor": 4.0, "rope__scaling__original_context_length": 1024}
    (rope,) = declared_ropes(facts_of(str(write(tmp_path / "a.gguf", **yarn)))).values()
    assert isinstance(rope, Rope)
    parameters = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 1024}
    config = LLAMA | {"rope_parameters": parameters}
    inv_freq, attention_factor = by_the_papers(config, parameters)
    assert rope.inv_freq == pytest.approx(inv_freq)
    assert rope.attention_factor == pytest.approx(attention_factor)


def test_a_factor_without_a_type_is_linear(tmp_path: Path) -> None:
    (rope,) = declared_ropes(facts_of(str(write(tmp_path / "a.gguf", rope__scaling__factor=4.0)))).values()
    assert isinstance(rope, Rope)
    assert rope.inv_freq[0] == 0.25


def test_a_converted_model_agrees_with_its_config(tmp_path: Path) -> None:
    model = tiny_model(tiny_config("llama"))
    write_gguf(model, tmp_path / "model.gguf", "F32")
    model.config.save_pretrained(tmp_path)
    assert codes(tmp_path / "model.gguf") == []
    (rope,) = declared_ropes(facts_of(str(tmp_path / "model.gguf"))).values()
    assert isinstance(rope, Rope)
    assert (rope.rotary_dim, rope.original_max_position_embeddings) == (32, 64)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({}, []),
        ({"context_length": 2048}, ["gguf-config"]),
        ({"rope__freq_base": 5e5}, ["gguf-config"]),
        ({"rope__scaling__type": "linear", "rope__scaling__factor": 4.0}, ["gguf-config"]),
        ({"rope__scaling__type": "none", "rope__scaling__factor": 4.0}, ["gguf-scaling"]),
        ({"rope__scaling__type": "yran"}, ["gguf-scaling"]),
    ],
)
def test_a_file_is_held_against_the_config_that_it_was_made_from(
    tmp_path: Path, config_folder: Path, keys: dict[str, Any], expected: list[str]
) -> None:
    assert codes(write(tmp_path / "model.gguf", **keys), config_folder) == expected


def test_a_file_alone_is_examined_by_its_own_keys(tmp_path: Path) -> None:
    yarn = {"rope__scaling__type": "yarn", "rope__scaling__factor": 4.0}
    assert codes(write(tmp_path / "a.gguf", **yarn)) == ["max-length-factor", "gguf-scaling"]


def test_a_config_beside_something_else_is_refused(config_folder: Path) -> None:
    with pytest.raises(ValueError, match="--config goes with a GGUF file"):
        facts_of(str(config_folder), beside=str(config_folder))


def test_long_lists_are_left_out(tmp_path: Path) -> None:
    assert "tokenizer.ggml.tokens" not in read_gguf(write(tmp_path / "a.gguf"))[0]


def header(version: int = 3, tensors: int = 0, keys: int = 0) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, keys)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"GGUF",
        b"GGML" + bytes(40),
        header(version=1),
        header(version=0x03000000),
        header(keys=2**60) + bytes(100),
        header(tensors=2**60) + bytes(100),
        header(keys=1) + struct.pack("<Q", 2**60),
        header(keys=1) + struct.pack("<Q", 1) + b"a" + struct.pack("<IIQ", 9, 0, 2**60),
        header(keys=1) + struct.pack("<Q", 1) + b"a" + struct.pack("<IIQ", 9, 8, 2**60),
        header(keys=1) + struct.pack("<Q", 1) + b"a" + struct.pack("<IIQIQ", 9, 9, 1, 9, 1),
        header(keys=1) + struct.pack("<Q", 1) + b"a" + struct.pack("<I", 99),
        header(tensors=1) + struct.pack("<Q", 1) + b"t" + struct.pack("<I", 2**31),
    ],
)
def test_a_broken_header_is_an_error_before_the_reader_loops(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.gguf"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"broken\.gguf"):
        read_gguf(path)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_file_that_is_cut_off_is_an_error(tmp_path: Path, share: float) -> None:
    whole = write(tmp_path / "whole.gguf").read_bytes()
    (tmp_path / "cut.gguf").write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ValueError, match=r"cut\.gguf"):
        check_bounds(tmp_path / "cut.gguf")


def test_without_the_package_it_is_said_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.gguf")
    monkeypatch.setattr(rope_scaling.doctor.gguf_file.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"rope-scaling\[gguf\]"):
        facts_of(str(path))
