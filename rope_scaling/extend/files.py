"""The files of a checkpoint folder, none of which lies outside of it."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from rope_scaling.extend.documents import parse_document, read_document

_WEIGHTS = {
    *(".safetensors", ".gguf", ".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack"),
    *(".onnx", ".onnx_data", ".npz", ".ot", ".tflite"),
}
_PICKLES = {".bin", ".pt", ".pth", ".ckpt"}
_LARGE = 32 * 2**20
_NOT_OURS = {".git", ".cache", "__pycache__"}
"""Git's store and what huggingface_hub and Python keep beside downloaded files."""


@dataclass(frozen=True)
class Entry:
    """A regular file of a checkpoint.

    Attributes:
        name: Its path in the folder, with slashes.
        path: Where its bytes lie; in the Hub's cache that is not in the folder itself.
        size: Bytes.
    """

    name: str
    path: Path
    size: int

    @property
    def is_weights(self) -> bool:
        """Whether it is linked instead of copied: nobody edits weights in place, and they are large."""
        return Path(self.name).suffix in _WEIGHTS or self.size > _LARGE

    @property
    def is_pickle(self) -> bool:
        """Whether opening it could run code."""
        return Path(self.name).suffix in _PICKLES


def find_files(folder: Path) -> list[Entry]:
    """Every file of a checkpoint folder.

    Raises:
        ValueError: One is no regular file, or is a link that leads out of the folder.
    """
    roots = _roots(folder)
    found: list[Entry] = []
    for place, folders, names in os.walk(folder, onerror=_raise):
        folders[:] = sorted(set(folders) - _NOT_OURS)
        linked = [name for name in folders if Path(place, name).is_symlink()]
        for name in linked:
            raise ValueError(f"{Path(place, name)} is a link to a folder: put the folder itself there")
        found += [_entry(folder, Path(place, name), roots) for name in sorted(names)]
    return found


def check_indexes(entries: list[Entry]) -> None:
    """ValueError unless every shard that an index names is a file of the folder."""
    there = {entry.name for entry in entries}
    for entry in entries:
        if not entry.name.endswith(".index.json"):
            continue
        held = parse_document(entry.name, read_document(entry.path)).get("weight_map", {})
        if not isinstance(held, dict):
            raise ValueError(f"weight_map of {entry.name} must be an object, got {type(held).__name__}")
        for shard in held.values():
            _check_shard(entry.name, shard, there)


def _check_shard(index: str, shard: object, there: set[str]) -> None:
    if not isinstance(shard, str) or not shard:
        raise ValueError(f"{index} names a shard {shard!r}: it must be a file name")
    path = PurePosixPath(shard)
    if path.is_absolute() or ".." in path.parts or "\\" in shard or "\0" in shard or ":" in path.parts[0]:
        raise ValueError(f"{index} names the shard {shard!r}, outside of the folder: nothing was read or written")
    if str(PurePosixPath(index).parent / path) not in there:
        raise ValueError(f"{index} names the shard {shard!r}, which is not there: the checkpoint is not complete")


def _roots(folder: Path) -> list[Path]:
    """Where bytes may lie: the folder, and in the Hub's cache (snapshots/REVISION beside blobs) its store of files."""
    real = folder.resolve()
    return [real, real.parent.parent / "blobs"] if real.parent.name == "snapshots" else [real]


def _entry(folder: Path, path: Path, roots: list[Path]) -> Entry:
    name = path.relative_to(folder).as_posix()
    real = path.resolve()
    if path.is_symlink() and not any(real.is_relative_to(root) for root in roots):
        raise ValueError(
            f"{name} is a link to {real}, outside of the checkpoint: put the file itself there, or extend the folder "
            "that holds it"
        )
    try:
        status = real.stat()
    except FileNotFoundError:
        raise ValueError(f"{name} is a link to a file that is not there: the checkpoint is not complete") from None
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"{name} is no regular file (a device, a pipe or a socket): a checkpoint has none")
    return Entry(name, real, status.st_size)


def _raise(error: OSError) -> None:
    raise error
