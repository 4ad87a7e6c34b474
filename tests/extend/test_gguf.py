"""A GGUF file with other metadata: the very same tensors, llama.cpp's own formula, and damaged files told."""

from __future__ import annotations

import contextlib
import math
import os
import struct
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGUFReader, GGUFWriter
from hypothesis import given, settings
from hypothesis import strategies as st

from rope_scaling import Rope, parse_scheme
from rope_scaling.extend.gguf.copy import extend_gguf, open_gguf, tensor_sha256, trained_metadata, undo_gguf
from rope_scaling.extend.gguf.rope import RECORD, plan_gguf, server_flags
from tests.extend.engine_formulas import llama_cpp_rotation
from tests.models import TRAINED, tiny_model
from tests.patches.gguf_file import write_gguf

SCHEMES = [
    "none:factor=2",
    "linear:factor=3",
    "ntk:factor=4",
    "abf:theta=5e5,factor=4",
    "yarn:factor=4",
    "yarn:factor=4,attention_factor=1.0",
]


@pytest.fixture(scope="module", params=["F32", "Q8_0"])
def plain(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("gguf") / "plain.gguf"
    write_gguf(tiny_model(), path, request.param)
    return path


def extended(path: Path, out: Path, scheme: str, **options: Any) -> Path:
    source = open_gguf(path)
    plan = plan_gguf(trained_metadata(source), source.tensors, parse_scheme(scheme), **options)
    extend_gguf(source, plan, out, force=False, tick=lambda copied: None)
    return out


def fields(path: Path) -> dict[str, Any]:
    """Every key of a file by the library's own reader, without the counts of its header."""
    found = GGUFReader(path).fields
    return {name: (field.types, field.contents()) for name, field in found.items() if not name.startswith("GGUF.")}


def data_region(path: Path) -> bytes:
    """Everything after the header: the tensors and the padding between them."""
    return path.read_bytes()[GGUFReader(path).data_offset :]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_only_the_rope_changes_and_no_byte_of_a_tensor(scheme: str, plain: Path, tmp_path: Path) -> None:
    out = extended(plain, tmp_path / "out.gguf", scheme)
    before, after = fields(plain), fields(out)
    changed = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
    assert changed - {RECORD} <= {key for key in after if ".rope." in key or key.endswith(".context_length")}
    assert data_region(out) == data_region(plain)
    assert tensor_sha256(open_gguf(out)) == tensor_sha256(open_gguf(plain))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_llama_cpp_computes_what_the_scheme_says(scheme: str, plain: Path, tmp_path: Path) -> None:
    source = open_gguf(plain)
    theta, dim = source.metadata["llama.rope.freq_base"], source.metadata["llama.rope.dimension_count"]
    written = open_gguf(extended(plain, tmp_path / "out.gguf", scheme)).metadata
    own = {key.removeprefix("llama.rope.").removeprefix("scaling."): value for key, value in written.items()}
    own["context_length"] = written["llama.context_length"]
    inv_freq, factor = llama_cpp_rotation(own, dim)
    meant = parse_scheme(scheme)(Rope.plain(theta, dim, TRAINED))
    assert inv_freq == pytest.approx(meant.inv_freq, rel=1e-6)
    assert factor == pytest.approx(meant.attention_factor, rel=1e-6)
    asked = parse_scheme(scheme).factor
    assert asked is not None
    assert own["context_length"] == math.floor(asked * TRAINED)


@pytest.mark.parametrize(
    ("scheme", "flags"),
    [
        ("none:factor=2", ""),
        ("linear:factor=3", "--rope-scaling linear --rope-scale 3.0 "),
        ("abf:theta=5e5,factor=4", "--rope-freq-base 500000.0 "),
        ("yarn:factor=4", "--rope-scaling yarn --rope-scale 4.0 --yarn-orig-ctx 64 "),
        ("yarn:attention_factor=1.0", None),
    ],
)
def test_flags_say_the_same_of_the_source(scheme: str, flags: str | None) -> None:
    assert server_flags(plan_gguf(METADATA, [], parse_scheme(scheme))) == flags


def test_undoing_gives_the_file_back(plain: Path, tmp_path: Path) -> None:
    out = extended(plain, tmp_path / "out.gguf", "yarn:factor=4,attention_factor=1.0")
    undo_gguf(open_gguf(out), tmp_path / "back.gguf", force=False, tick=lambda copied: None)
    assert (tmp_path / "back.gguf").read_bytes() == plain.read_bytes()


def test_extending_again_starts_from_the_trained_file(plain: Path, tmp_path: Path) -> None:
    once = extended(plain, tmp_path / "once.gguf", "yarn:factor=4,attention_factor=1.0")
    again, meant = (extended(p, tmp_path / f"{p.stem}-ntk.gguf", "ntk:factor=2") for p in (once, plain))
    assert {k: v for k, v in fields(again).items() if k != RECORD} == {
        k: v for k, v in fields(meant).items() if k != RECORD
    }
    undo_gguf(open_gguf(again), tmp_path / "back.gguf", force=False, tick=lambda copied: None)
    assert (tmp_path / "back.gguf").read_bytes() == plain.read_bytes()


def test_a_length_may_be_given_instead_of_a_factor(plain: Path) -> None:
    source = open_gguf(plain)
    plan = plan_gguf(source.metadata, source.tensors, parse_scheme("yarn"), max_length=256)
    assert (plan.scheme.factor, plan.length) == (4.0, 256)


@pytest.mark.parametrize(
    "scheme", ["llama3:factor=4", "ntk-by-parts", "yarn-turns", "yarn:truncate=false", "yarn:beta_fast=16"]
)
def test_what_metadata_cannot_say_is_refused(scheme: str, plain: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"no metadata for scheme|leave truncate out|serve it with --yarn-beta-fast 16"
    ):
        extended(plain, tmp_path / "out.gguf", scheme)
    assert os.listdir(tmp_path) == []


METADATA = {
    "general.architecture": "llama",
    "llama.attention.head_count": 4,
    "llama.embedding_length": 64,
    "llama.context_length": 64,
}


@pytest.mark.parametrize(
    ("changes", "tensors", "message"),
    [
        ({"general.architecture": "gemma3"}, [], "was not checked"),
        ({}, ["rope_freqs.weight"], "scaled already by a tensor"),
        ({"llama.rope.scaling.type": "yarn", "llama.rope.scaling.factor": 4.0}, [], "scaled already"),
        ({"llama.attention.sliding_window": 4096}, [], "was not checked"),
        ({"split.count": 3}, [], "one part of several"),
        ({"llama.context_length": 0}, [], "context_length must be"),
        ({"llama.rope.freq_base": math.nan}, [], "freq_base must be"),
        ({"llama.rope.dimension_count": 7}, [], "rotary_dim must be even"),
    ],
)
def test_a_file_that_is_not_understood_is_refused(changes: dict[str, Any], tensors: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plan_gguf(METADATA | changes, tensors, parse_scheme("yarn"))


def test_a_file_whose_metadata_were_edited_can_be_replaced() -> None:
    scaled = {"llama.rope.scaling.type": "yarn", "llama.rope.scaling.factor": 4.0, "llama.context_length": 256}
    original = {"llama.rope.scaling.original_context_length": 64, "llama.rope.scaling.attn_factor": 0.5}
    plan = plan_gguf(METADATA | scaled | original, [], parse_scheme("linear:factor=2"), on_scaled="replace")
    assert plan.length == 128
    assert plan.values["llama.rope.scaling.attn_factor"] is None


def test_a_file_is_published_as_folders_are(plain: Path, tmp_path: Path) -> None:
    out = extended(plain, tmp_path / "out.gguf", "yarn")
    with pytest.raises(ValueError, match="exists: choose another name"):
        extended(plain, out, "yarn")
    with pytest.raises(ValueError, match=r"must end in \.gguf"):
        extended(plain, tmp_path / "out", "yarn")
    with pytest.raises(ValueError, match="is the file itself"):
        extended(out, out, "yarn")
    assert os.listdir(tmp_path) == ["out.gguf"]


def test_what_reads_back_otherwise_is_not_kept(plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = GGUFWriter.write_tensor_data

    def careless(self: GGUFWriter, data: np.ndarray, **options: Any) -> None:
        honest(self, np.zeros_like(data), **options)

    monkeypatch.setattr(GGUFWriter, "write_tensor_data", careless)
    with pytest.raises(ValueError, match="tensors of the written file differ"):
        extended(plain, tmp_path / "out.gguf", "yarn")
    assert os.listdir(tmp_path) == []


def header(keys: int, *values: bytes) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, 0, keys) + b"".join(values)


def key(kind: int, value: bytes) -> bytes:
    return struct.pack("<Q", 1) + b"k" + struct.pack("<I", kind) + value


@pytest.mark.parametrize(
    "held",
    [
        b"",
        b"not a GGUF file, whatever its name",
        b"GGUF" + struct.pack(">IQQ", 3, 0, 0),
        header(2**60),
        header(1, struct.pack("<Q", 2**62)),
        header(1, key(8, struct.pack("<Q", 2**63))),
        header(1, key(9, struct.pack("<IQ", 0, 2**60))),
        header(1, key(9, struct.pack("<IQ", 8, 2**60))),
        header(1, key(9, struct.pack("<IQ", 9, 1) * 9)),
        header(1, key(99, b"12345678")),
    ],
)
def test_absurd_lengths_are_told_at_once(held: bytes, tmp_path: Path) -> None:
    (tmp_path / "bad.gguf").write_bytes(held)
    with pytest.raises(ValueError, match=r"is damaged|is no GGUF file|version"):
        open_gguf(tmp_path / "bad.gguf")


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_damaged_file_is_told_or_read_but_never_crashes(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "bad.gguf"
        write_minimal(path)
        held = bytearray(path.read_bytes())
        for _ in range(data.draw(st.integers(1, 4))):
            held[data.draw(st.integers(0, len(held) - 1))] = data.draw(st.integers(0, 255))
        path.write_bytes(held[: data.draw(st.integers(len(held) // 2, len(held)))])
        with contextlib.suppress(ValueError, TypeError):
            source = open_gguf(path)
            plan_gguf(trained_metadata(source), source.tensors, parse_scheme("yarn"))


def write_minimal(path: Path) -> None:
    writer = GGUFWriter(path, "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(64)
    writer.add_head_count(4)
    writer.add_token_list(["a", "b", "c"])
    writer.add_tensor("token_embd.weight", np.zeros((3, 4), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
