"""Hostile and damaged settings are told, honest ones keep their hand, and every change can be taken back."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rope_scaling import parse_scheme
from rope_scaling.extend import documents
from rope_scaling.extend.changes import find_change, undo_change
from rope_scaling.extend.documents import edit_document, parse_document, read_document
from rope_scaling.extend.folder import Source
from rope_scaling.patches.offline import extend_checkpoint
from tests.extend.folders import write_json
from tests.models import tiny_config


@pytest.mark.parametrize(
    ("held", "message"),
    [
        (b"", "cannot be read"),
        (b"{", "cannot be read"),
        (b'{"a": 1, "a": 2}', "says 'a' twice"),
        (b'{"rope": {"factor": 4, "factor": 8}}', "says 'factor' twice"),
        (b"[" * 200_000, "nested deeper|cannot be read"),
        (b'{"a":' * 200_000, "nested deeper|cannot be read"),
        (b'{"a": ' + b"9" * 10_000 + b"}", "cannot be read"),
        (b'{"a": "caf\xe9"}', "cannot be read"),
        (b"[1]", "must hold a JSON object, got list"),
        (b"null", "must hold a JSON object, got NoneType"),
    ],
)
def test_what_is_no_sound_object_is_told(held: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_document("config.json", held)


def test_a_file_beyond_reason_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "_LARGEST", 2**20)
    with (tmp_path / "config.json").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(ValueError, match="has more than 1 MiB"):
        read_document(tmp_path / "config.json")


@settings(max_examples=200, deadline=None)
@given(held=st.binary(max_size=200))
def test_any_bytes_are_told_or_read(held: bytes) -> None:
    with contextlib.suppress(ValueError):
        assert isinstance(parse_document("config.json", held), dict)


@pytest.mark.parametrize(
    "text",
    [
        '{\n  "a": 1\n}\n',
        '{\n    "a": 1,\n    "b": [\n        1.5,\n        Infinity\n    ]\n}',
        '{\n\t"caf\\u00e9": 1e-05\n}\n',
        '{\n  "café": "日本"\n}',
    ],
)
def test_an_edited_file_keeps_its_hand(text: str) -> None:
    def edit(settings: dict[str, Any]) -> None:
        settings["new"] = 4096

    written = edit_document("config.json", text.encode(), edit).decode()
    kept = [line.rstrip(",") for line in text.strip().splitlines()[1:-1]]
    assert [line.rstrip(",") for line in written.strip().splitlines()][1 : 1 + len(kept)] == kept
    assert written.endswith("\n") == text.endswith("\n")
    assert json.loads(written) == json.loads(text) | {"new": 4096}


def test_a_file_that_an_edit_leaves_alone_keeps_every_byte() -> None:
    held = b'{"a":1 ,  "b":[ ]}'
    assert edit_document("config.json", held, lambda settings: None) == held


@settings(max_examples=300, deadline=None)
@given(before=st.one_of(st.none(), st.binary(max_size=60)), after=st.binary(max_size=60))
def test_any_change_can_be_taken_back(before: bytes | None, after: bytes) -> None:
    change = find_change("README.md", before, after)
    json.dumps(change.__dict__)
    assert undo_change(change, after) == before


@settings(max_examples=50, deadline=None)
@given(before=st.text(max_size=20), after=st.text(max_size=20), shared=st.text(max_size=5))
def test_a_change_holds_no_more_than_differs(before: str, after: str, shared: str) -> None:
    change = find_change("README.md", (shared + before + shared).encode(), (shared + after + shared).encode())
    assert len(change.before or "") <= len(before)
    assert len(change.after) <= len(after)


def test_a_file_that_is_gone_cannot_be_restored() -> None:
    with pytest.raises(ValueError, match="is gone since it was written"):
        undo_change(find_change("config.json", b"{}", b"{ }"), None)


HOSTILE: list[dict[str, Any]] = [
    {"rope_parameters": {"rope_type": "default", "rope_theta": float("nan")}},
    {"rope_parameters": {"rope_type": "default", "rope_theta": 1e400}},
    {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4, "factor": "4"}},
    {"rope_parameters": [1, 2]},
    {"max_position_embeddings": "64"},
    {"max_position_embeddings": -1},
    {"hidden_size": 2**62},
    {"num_hidden_layers": -3},
    {"num_attention_heads": 0},
    {"architectures": ["os.system"]},
    {"architectures": "LlamaForCausalLM"},
    {"model_type": "../../etc/passwd"},
    {"auto_map": {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}, "model_type": "evil"},
]


@pytest.mark.parametrize("changes", HOSTILE)
def test_a_hostile_config_is_told_or_harmless(changes: dict[str, Any], tmp_path: Path) -> None:
    source = tmp_path / "source"
    tiny_config().save_pretrained(source)
    write_json(source / "config.json", json.loads((source / "config.json").read_text()) | changes)
    (source / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    try:
        extend_checkpoint(Source.read(source), tmp_path / "out", parse_scheme("yarn:factor=4"))
    except (ValueError, TypeError):
        assert os.listdir(tmp_path) == ["source"]
    assert not (tmp_path / "ran").exists()
