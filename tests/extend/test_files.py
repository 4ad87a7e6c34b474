"""Which files are taken along and how, and that none outside of the folder is ever read or written."""

from __future__ import annotations

import os
import resource
import struct
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from rope_scaling.extend import place
from rope_scaling.extend.files import check_indexes, find_files
from rope_scaling.extend.folder import Source
from rope_scaling.extend.place import place_file
from rope_scaling.extend.weights import inv_freq_in_weights, read_header
from rope_scaling.extend.where import find_folder
from rope_scaling.rope import plain_inv_freq
from tests.extend.child import extend
from tests.extend.folders import contents, read_json, write_json, write_safetensors

CONFIG = {"model_type": "llama", "max_position_embeddings": 64, "rope_theta": 1e4}
GIGABYTE = 2**30


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    write_json(folder / "config.json", CONFIG)
    write_safetensors(folder / "model.safetensors", {"weight": ("F32", [4], 16)})
    return folder


def test_weights_are_linked_and_the_rest_is_copied(source: Path, tmp_path: Path) -> None:
    (source / "tokenizer.model").write_bytes(b"model")
    extend(source, tmp_path / "out")
    assert (tmp_path / "out" / "model.safetensors").samefile(source / "model.safetensors")
    assert not (tmp_path / "out" / "tokenizer.model").samefile(source / "tokenizer.model")
    extend(source, tmp_path / "copy", copy=True)
    assert not (tmp_path / "copy" / "model.safetensors").samefile(source / "model.safetensors")
    assert contents(tmp_path / "copy") == contents(tmp_path / "out")


def test_where_links_and_clones_cannot_be_files_are_copied(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def other_file_system(*given: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", other_file_system)
    monkeypatch.setattr(place, "_clone", lambda one, other: False)
    ticks: list[int] = []
    held = source / "model.safetensors"
    assert place_file(held, tmp_path / "copied", copy=False, tick=ticks.append) == "copied"
    assert (tmp_path / "copied").read_bytes() == held.read_bytes()
    assert sum(ticks) == held.stat().st_size
    monkeypatch.setattr(place, "_clone", lambda one, other: True)
    assert place_file(held, tmp_path / "cloned", copy=False, tick=ticks.append) == "cloned"


def test_folders_inside_are_taken_along_and_git_is_not(source: Path, tmp_path: Path) -> None:
    for name in ("onnx/model.onnx", ".git/config", ".cache/huggingface/x.lock", ".gitattributes"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(name)
    extend(source, tmp_path / "out")
    taken = {"model.safetensors", "onnx/model.onnx", ".gitattributes"}
    assert set(contents(tmp_path / "out")) == taken | {"config.json", "README.md", "rope_scaling.json"}


def test_pickles_are_taken_along_unopened_and_told(source: Path, tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path(tmp_path / "sprung").touch, ())

    torch.save(Trap(), source / "pytorch_model.bin")
    written = extend(source, tmp_path / "out")
    assert any("pytorch_model.bin is a pickle (of 1)" in told for told in written.warnings)
    assert (tmp_path / "out" / "pytorch_model.bin").samefile(source / "pytorch_model.bin")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    "shard", ["../secret", "/etc/passwd", "a/../../secret", "..\\secret", "C:/secret", "", 5, None, ["x"], "x\0y"]
)
def test_an_index_never_leads_out_of_the_folder(shard: object, source: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    write_json(source / "model.safetensors.index.json", {"weight_map": {"weight": shard}})
    with pytest.raises(ValueError, match=r"outside of the folder|must be a file name"):
        extend(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_missing_shard_is_told(source: Path) -> None:
    write_json(source / "model.safetensors.index.json", {"weight_map": {"weight": "model-00002.safetensors"}})
    with pytest.raises(ValueError, match=r"model-00002\.safetensors.*is not there"):
        check_indexes(find_files(source))


@pytest.mark.parametrize("target", ["/etc/hostname", "../secret", "/dev/zero", "nowhere"])
def test_a_link_that_leads_out_is_refused(target: str, source: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (source / "extra.safetensors").symlink_to(target)
    with pytest.raises(ValueError, match=r"outside of the checkpoint|not there"):
        extend(source, tmp_path / "out")


def test_a_link_to_a_folder_is_refused(source: Path, tmp_path: Path) -> None:
    (source / "home").symlink_to("/")
    with pytest.raises(ValueError, match="is a link to a folder"):
        extend(source, tmp_path / "out")


def test_a_pipe_is_refused_without_waiting_for_it(source: Path, tmp_path: Path) -> None:
    os.mkfifo(source / "generation_config.json")
    with pytest.raises(ValueError, match="no regular file"):
        extend(source, tmp_path / "out")


def test_a_link_within_the_folder_is_followed(source: Path, tmp_path: Path) -> None:
    (source / "same.safetensors").symlink_to("model.safetensors")
    extend(source, tmp_path / "out")
    written = tmp_path / "out" / "same.safetensors"
    assert not written.is_symlink()
    assert written.samefile(source / "model.safetensors")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model in the Hub's cache: blobs by their hash, and a snapshot of links to them."""
    model = tmp_path / "hub" / "models--someone--model"
    snapshot = model / "snapshots" / ("a" * 40)
    for folder in (model / "blobs", model / "refs", snapshot):
        folder.mkdir(parents=True)
    (model / "refs" / "main").write_text("a" * 40)
    write_json(model / "blobs" / "c1", CONFIG)
    write_safetensors(model / "blobs" / "w1", {"weight": ("F32", [4], 16)})
    for name, blob in {"config.json": "c1", "model.safetensors": "w1"}.items():
        (snapshot / name).symlink_to(f"../../blobs/{blob}")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return model


def test_a_hub_name_is_found_in_the_cache_and_its_blobs_are_linked(hub: Path, tmp_path: Path) -> None:
    extend(find_folder("someone/model"), tmp_path / "out")
    written = tmp_path / "out" / "model.safetensors"
    assert not written.is_symlink()
    assert written.samefile(hub / "blobs" / "w1")
    assert read_json(tmp_path / "out" / "config.json")["max_position_embeddings"] == 256
    assert read_json(hub / "blobs" / "c1") == CONFIG


def test_a_link_out_of_the_hubs_cache_is_refused(hub: Path, tmp_path: Path) -> None:
    (hub / "snapshots" / ("a" * 40) / "extra.json").symlink_to("/etc/hostname")
    with pytest.raises(ValueError, match="outside of the checkpoint"):
        extend(hub / "snapshots" / ("a" * 40), tmp_path / "out")


def test_a_name_that_is_nowhere_is_told(hub: Path) -> None:
    with pytest.raises(ValueError, match="the Hub does not give it"):
        find_folder("nobody/nothing")
    with pytest.raises(ValueError, match="is not there"):
        find_folder("./absent")


def test_a_folder_without_a_config_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds no config\.json"):
        Source.read(tmp_path)


def test_a_hundred_gigabytes_take_seconds_and_no_memory(source: Path, tmp_path: Path) -> None:
    (source / "model.safetensors").unlink()
    names = [f"model-{number:05d}-of-00020.safetensors" for number in range(1, 21)]
    for name in names:
        write_safetensors(source / name, {"weight": ("BF16", [5 * GIGABYTE // 2], 5 * GIGABYTE)})
    write_json(source / "model.safetensors.index.json", {"weight_map": {f"{name}.weight": name for name in names}})
    assert sum((source / name).stat().st_size for name in names) > 100 * GIGABYTE
    before, begun = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    extend(source, tmp_path / "out")
    assert time.monotonic() - begun < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50 * 1024  # kilobytes
    assert all((tmp_path / "out" / name).samefile(source / name) for name in names)


def with_inv_freq(path: Path, theta: float) -> None:
    frequencies = torch.tensor(plain_inv_freq(theta, 8))
    save_file({"weight": torch.ones(2), "model.layers.0.self_attn.rotary_emb.inv_freq": frequencies}, path)


def test_old_inv_freq_tensors_are_told_and_compared_with_the_config(source: Path) -> None:
    with_inv_freq(source / "model.safetensors", 1e4)
    entries = [entry for entry in find_files(source) if entry.name == "model.safetensors"]
    (same,) = inv_freq_in_weights(entries, [plain_inv_freq(1e4, 8)])
    assert "hold 1 inv_freq tensors" in same
    other = inv_freq_in_weights(entries, [plain_inv_freq(5e5, 8)])
    assert "not the frequencies that the config means" in other[1]
    assert len(inv_freq_in_weights(entries, [plain_inv_freq(1e4, 16)])) == 2  # another number of pairs


@pytest.mark.parametrize(
    "held",
    [
        b"",
        b"1234567",
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 0),
        struct.pack("<Q", 4) + b"nono",
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 13) + b'{"weight": 1}',
        struct.pack("<Q", 40_000) + b"[" * 40_000,
    ],
)
def test_a_damaged_header_is_told(held: bytes, source: Path) -> None:
    (source / "model.safetensors").write_bytes(held)
    entry = next(entry for entry in find_files(source) if entry.name == "model.safetensors")
    with pytest.raises(ValueError, match=r"model\.safetensors is damaged"):
        read_header(entry)


def test_a_file_that_was_cut_off_is_told(source: Path, tmp_path: Path) -> None:
    write_safetensors(source / "model.safetensors", {"weight": ("F32", [100], 400)}, size=200)
    with pytest.raises(ValueError, match="is cut off"):
        extend(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()
