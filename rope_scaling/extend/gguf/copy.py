"""A copy of a GGUF file with other metadata and the same tensors, read back and compared."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rope_scaling.extend.gguf.bounds import check_bounds
from rope_scaling.extend.gguf.rope import RECORD, GgufPlan
from rope_scaling.extend.place import Tick
from rope_scaling.extend.publish import published
from rope_scaling.schemes import scheme_options

_STEP = 16 * 2**20


@dataclass(frozen=True)
class GgufFile:
    """An opened file.

    Attributes:
        path: Where it lies.
        reader: The library's, over a memory map.
        metadata: Its keys and values.
        tensors: Names of its tensors.
    """

    path: Path
    reader: Any
    metadata: dict[str, Any]
    tensors: list[str]


def open_gguf(path: Path) -> GgufFile:
    """Read a file's metadata; its tensors stay on the disk.

    Raises:
        ValueError: It is damaged, or the package gguf is missing.
    """
    check_bounds(path)
    try:
        from gguf import GGUFReader
    except ModuleNotFoundError:
        raise ValueError('reading a GGUF file needs the package gguf: pip install "rope-scaling[gguf]"') from None
    try:
        reader = GGUFReader(path)
        metadata = {name: field.contents() for name, field in reader.fields.items() if not name.startswith("GGUF.")}
    except (ValueError, KeyError, IndexError, TypeError, OverflowError, UnicodeError, MemoryError) as error:
        raise ValueError(f"{path.name} is damaged: {type(error).__name__}: {error}") from None
    return GgufFile(path, reader, metadata, [tensor.name for tensor in reader.tensors])


def extend_gguf(source: GgufFile, plan: GgufPlan, out: Path, *, force: bool, tick: Tick) -> None:
    """Write `out`, the file with the plan's metadata; it appears whole or not at all.

    Raises:
        ValueError: `out` is there, or what was written reads back otherwise.
        OSError: The disk is full or cannot be written.
    """
    earlier = _before_earlier(source)
    record = {
        "scheme": plan.scheme.name,
        "options": scheme_options(plan.scheme),
        "original_max_position_embeddings": plan.original,
        "max_position_embeddings": plan.length,
        "before": {key: source.metadata.get(key) for key in plan.values} | earlier,
    }
    _publish(source, earlier | plan.values | {RECORD: json.dumps(record)}, out, force=force, tick=tick)


def undo_gguf(source: GgufFile, out: Path, *, force: bool, tick: Tick) -> None:
    """Write `out`, the file with the metadata that it had before it was extended.

    Raises:
        ValueError: It was not extended.
    """
    before = _before_earlier(source)
    if not before:
        raise ValueError(f"{source.path.name} has no key {RECORD}: it was not written by rope-scaling extend")
    _publish(source, before | {RECORD: None}, out, force=force, tick=tick)


def trained_metadata(source: GgufFile) -> dict[str, Any]:
    """A file's metadata as they were before an earlier extension."""
    held = source.metadata | _before_earlier(source)
    return {key: value for key, value in held.items() if value is not None and key != RECORD}


def _before_earlier(source: GgufFile) -> dict[str, Any]:
    try:
        before = json.loads(source.metadata.get(RECORD, "{}")).get("before", {})
        return {str(key): value for key, value in before.items()}
    except (ValueError, TypeError, AttributeError):
        raise ValueError(f"{RECORD} of {source.path.name} cannot be read: it was edited") from None


def _publish(source: GgufFile, values: Mapping[str, Any], out: Path, *, force: bool, tick: Tick) -> None:
    if out.suffix != ".gguf":
        raise ValueError(f"{out} must end in .gguf, as it will be a GGUF file")
    if out.exists() and out.samefile(source.path):
        raise ValueError(f"{out} is the file itself: choose another name, the source is never touched")
    with published(out, force=force) as new:
        _write(source, values, new, tick)
        _compare(source, open_gguf(new), values)


def _write(source: GgufFile, values: Mapping[str, Any], new: Path, tick: Tick) -> None:
    from gguf import GGUFValueType, GGUFWriter

    writer = GGUFWriter(new, arch=source.metadata["general.architecture"], endianess=source.reader.endianess)
    writer.data_alignment = source.reader.alignment
    kinds = {str: GGUFValueType.STRING, int: GGUFValueType.UINT32, float: GGUFValueType.FLOAT32}
    for name, field in source.reader.fields.items():
        if name.startswith("GGUF.") or name == "general.architecture":
            continue
        value = values.get(name, source.metadata[name])
        if value is not None:
            sub = field.types[-1] if field.types[0] == GGUFValueType.ARRAY else None
            writer.add_key_value(name, value, field.types[0], sub_type=sub)
    for name, value in values.items():
        if name not in source.metadata and value is not None:
            writer.add_key_value(name, value, kinds[type(value)])
    for tensor in source.reader.tensors:
        data = tensor.data
        writer.add_tensor_info(tensor.name, data.shape, data.dtype, data.nbytes, tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for tensor in source.reader.tensors:
        writer.write_tensor_data(tensor.data)
        tick(int(tensor.data.nbytes))
    writer.close()
    with new.open("rb") as file:
        os.fsync(file.fileno())


def _compare(source: GgufFile, new: GgufFile, values: Mapping[str, Any]) -> None:
    """ValueError unless the copy has these values, every other key, and the very same tensor bytes."""
    meant = {key: value for key, value in (source.metadata | dict(values)).items() if value is not None}
    wrong = [key for key in meant.keys() | new.metadata.keys() if not _same(meant.get(key), new.metadata.get(key))]
    if wrong:
        raise ValueError(f"the written file reads back otherwise under {wrong[0]}; nothing was kept")
    if _tensor_table(source) != _tensor_table(new) or tensor_sha256(source) != tensor_sha256(new):
        raise ValueError("the tensors of the written file differ from the source's; nothing was kept")


def _same(meant: Any, read: Any) -> bool:
    if isinstance(meant, float) and isinstance(read, float):
        return abs(meant - read) <= 1e-7 * abs(meant) or meant == read or (meant != meant and read != read)  # float32
    return type(meant) is type(read) and bool(meant == read)


def _tensor_table(file: GgufFile) -> list[tuple[Any, ...]]:
    return [(t.name, tuple(map(int, t.shape)), int(t.tensor_type), int(t.n_bytes)) for t in file.reader.tensors]


def tensor_sha256(file: GgufFile) -> str:
    """Of the bytes of every tensor, in order."""
    found = hashlib.sha256()
    for tensor in file.reader.tensors:
        held = tensor.data.reshape(-1).view("uint8")
        for start in range(0, held.size, _STEP):
            found.update(held[start : start + _STEP].tobytes())
    return found.hexdigest()
