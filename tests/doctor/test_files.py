"""Reading what nobody has checked: nothing outside the folder, nothing without bounds, no pickle."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from rope_scaling.doctor import examine, facts_of
from rope_scaling.doctor.jsonfile import LARGEST, parse_json, read_json
from rope_scaling.doctor.weights import INDEX, is_inside, read_header, read_tensors
from rope_scaling.rope import plain_inv_freq
from tests.doctor.cases import LLAMA

Q = "model.layers.0.self_attn.q_proj.weight"
FREQ = "model.layers.0.self_attn.rotary_emb.inv_freq"


def folder(path: Path, config: dict[str, Any] | str = LLAMA, **files: Any) -> Path:
    path.mkdir(exist_ok=True)
    (path / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    for name, content in files.items():
        (path / f"{name}.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def codes(path: Path, **options: Any) -> list[str]:
    return [finding.code for finding in examine(facts_of(str(path), **options))]


def index(path: Path, *names: str) -> None:
    (path / INDEX).write_text(json.dumps({"weight_map": {f"w{i}": name for i, name in enumerate(names)}}))


def test_a_sound_folder_has_no_findings(tmp_path: Path) -> None:
    save_file({Q: torch.zeros(512, 512)}, folder(tmp_path) / "model.safetensors")
    assert codes(tmp_path) == []


def test_heads_of_another_size_are_told_from_the_header(tmp_path: Path) -> None:
    save_file({Q: torch.zeros(256, 512)}, folder(tmp_path) / "model.safetensors")
    assert codes(tmp_path) == ["head-dim-weights"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_old_frequency_tensors_are_read_in_every_dtype(tmp_path: Path, dtype: torch.dtype) -> None:
    folder(tmp_path)
    for theta, expected in ((1e4, []), (5e5, ["inv-freq-in-weights"])):
        table = torch.tensor(plain_inv_freq(theta, 64), dtype=dtype)
        save_file({Q: torch.zeros(512, 512), FREQ: table}, tmp_path / "model.safetensors")
        assert codes(tmp_path) == expected
        (values,) = read_tensors(tmp_path)[0].inv_freq.values()
        assert torch.equal(torch.tensor(values, dtype=torch.float64), table.double())


@pytest.mark.parametrize("name", ["../secret.safetensors", "/etc/passwd", "a/../../b", "..", "sub/x", "a\\b", "\0", ""])
def test_a_shard_name_that_leads_out_is_refused(tmp_path: Path, name: str) -> None:
    outside = tmp_path / "secret.safetensors"
    save_file({Q: torch.zeros(256, 512)}, outside)
    inner = folder(tmp_path / "inner")
    index(inner, name)
    assert codes(inner) == ["unsafe-shard"]
    assert read_tensors(inner)[0].shapes == {}


def test_a_link_that_leads_out_is_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "secret.safetensors"
    save_file({Q: torch.zeros(256, 512)}, outside)
    inner = folder(tmp_path / "inner")
    (inner / "model.safetensors").symlink_to(outside)
    assert codes(inner) == ["unsafe-shard"]
    (inner / "config.json").unlink()
    (inner / "config.json").symlink_to(tmp_path / "elsewhere.json")
    (tmp_path / "elsewhere.json").write_text("{}")
    with pytest.raises(ValueError, match="leads out"):
        facts_of(str(inner))


def test_the_hubs_cache_of_links_is_followed(tmp_path: Path) -> None:
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "abc"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    folder(snapshot)
    save_file({Q: torch.zeros(256, 512)}, blobs / "0123")
    (snapshot / "model.safetensors").symlink_to(Path("../../blobs/0123"))
    assert codes(snapshot) == ["head-dim-weights"]
    assert is_inside(snapshot, "model.safetensors")
    (snapshot / "config.json").unlink()
    os.symlink(tmp_path / "other.json", snapshot / "config.json")
    assert not is_inside(snapshot, "config.json")


def test_a_missing_shard_is_told_and_the_others_are_read(tmp_path: Path) -> None:
    index(folder(tmp_path), "a.safetensors", "b.safetensors")
    save_file({Q: torch.zeros(256, 512)}, tmp_path / "b.safetensors")
    assert sorted(codes(tmp_path)) == ["head-dim-weights", "missing-shard"]


def test_pickles_are_named_and_never_opened(tmp_path: Path) -> None:
    (folder(tmp_path) / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'touch opened'\ntR.")
    os.chmod(tmp_path / "pytorch_model.bin", 0)
    assert codes(tmp_path) == ["pickles"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x08\x00",
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 50) + b"{}",
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 4) + b"\xff\xfe\xfd\xfc",
        struct.pack("<Q", 8) + b'{"x": 1}',
        struct.pack("<Q", 40) + b'{"x":{"shape":[-1],"data_offsets":[0,0]}}'[:40],
        struct.pack("<Q", 55) + b'{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,99]}}',
    ],
)
def test_a_broken_header_is_told(tmp_path: Path, content: bytes) -> None:
    (folder(tmp_path) / "model.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match=r"."):
        read_header(tmp_path / "model.safetensors")
    assert codes(tmp_path) == ["bad-weights"]


def test_frequencies_whose_size_is_a_lie_are_told(tmp_path: Path) -> None:
    entry = {"dtype": "F32", "shape": [4], "data_offsets": [0, 8]}
    header = json.dumps({FREQ: entry}).encode()
    (folder(tmp_path) / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(8))
    assert codes(tmp_path) == ["bad-weights"]


def test_a_json_bomb_is_refused() -> None:
    for bomb in (b"[" * 100_000, b'{"a":' * 100_000, b'{"x": "' + b"[" * 10 + b'"' + b"[" * 100_000):
        with pytest.raises(ValueError, match="nested"):
            parse_json(bomb, "config.json")
    quoted = json.dumps({"text": "[" * 1000}).encode()
    assert parse_json(quoted, "config.json")[0] == {"text": "[" * 1000}  # brackets in a text are no nesting


def test_a_file_too_large_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    with path.open("wb") as file:
        file.truncate(LARGEST + 1)
    with pytest.raises(ValueError, match="more than"):
        read_json(path)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"a": 1}}', "\ud800".encode("utf-8", "surrogatepass")])
def test_what_is_no_json_object_is_an_error(text: str | bytes) -> None:
    with pytest.raises(ValueError, match=r"config\.json"):
        parse_json(text if isinstance(text, bytes) else text.encode(), "config.json")


def test_an_integer_of_too_many_digits_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"config\.json"):
        parse_json(b'{"a": ' + b"9" * 10_000 + b"}", "config.json")


@pytest.mark.parametrize("name", ["tokenizer_config", "generation_config"])
def test_a_broken_file_beside_the_config_is_a_warning(tmp_path: Path, name: str) -> None:
    assert codes(folder(tmp_path, **{name: "{"})) == ["bad-file"]


def test_truncation_is_read_from_the_head_of_a_large_tokenizer(tmp_path: Path) -> None:
    vocabulary = {f"token{i}": i for i in range(10_000)}
    tokenizer = {"version": "1.0", "truncation": {"max_length": 512, "stride": 0}, "model": {"vocab": vocabulary}}
    assert codes(folder(tmp_path, tokenizer=json.dumps(tokenizer, indent=1))) == ["tokenizer-truncation"]
    tokenizer["truncation"] = None
    assert codes(folder(tmp_path, tokenizer=tokenizer)) == []


def test_an_absurd_number_of_layers_is_told_and_nothing_is_made_of_it(tmp_path: Path) -> None:
    config = LLAMA | {"model_type": "gemma3_text", "num_hidden_layers": 10**12}
    facts = facts_of(str(folder(tmp_path, config)))
    assert facts.resolved is None
    assert "absurd-size" in [finding.code for finding in examine(facts)]


@pytest.mark.parametrize("name", ["no/such/folder", "../up", "has space"])
def test_what_is_no_checkpoint_is_an_error_that_names_it(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        facts_of(name)


def test_a_folder_without_a_config_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no config\.json"):
        facts_of(str(tmp_path))


def test_a_file_that_is_no_gguf_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"")
    with pytest.raises(ValueError, match=r"no \.gguf"):
        facts_of(str(tmp_path / "model.bin"))


def test_code_of_the_checkpoint_runs_only_when_it_is_trusted(tmp_path: Path) -> None:
    code = (
        "import pathlib\nfrom transformers import PreTrainedConfig\n"
        f"pathlib.Path({str(tmp_path / 'ran')!r}).touch()\n"
        "class Own(PreTrainedConfig):\n    model_type = 'own-kind'\n"
    )
    inner = tmp_path / "inner"
    config = LLAMA | {"model_type": "own-kind", "auto_map": {"AutoConfig": "configuration_own.Own"}}
    folder(inner, config)
    (inner / "configuration_own.py").write_text(code)
    assert codes(inner) == ["remote-code"]
    assert not (tmp_path / "ran").exists()
    facts = facts_of(str(inner), trust=True)
    assert (tmp_path / "ran").exists()
    assert type(facts.resolved).__name__ == "Own"
