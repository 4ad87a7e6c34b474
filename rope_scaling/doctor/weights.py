"""The headers of safetensors files, read within bounds; weights stay on disk but for old frequency tensors."""

from __future__ import annotations

import json
import math
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rope_scaling.doctor.facts import Tensors
from rope_scaling.doctor.finding import Severity, Symptom
from rope_scaling.doctor.jsonfile import Trouble, parse_json, read_json

INDEX = "model.safetensors.index.json"
LARGEST_HEADER = 100 * 2**20
"""Bytes; the limit of the safetensors library itself."""
_LONGEST_INV_FREQ = 2**16
_FORMATS = {"F64": ("d", 8), "F32": ("f", 4), "F16": ("e", 2), "BF16": ("H", 2)}
_PICKLES = ("*.bin", "*.pt", "*.pth")


def read_tensors(folder: Path) -> tuple[Tensors, tuple[Trouble, ...]]:
    """What the weight files of a checkpoint folder say of themselves, and what is wrong with them."""
    files, troubles = _files(folder)
    shapes: dict[str, tuple[int, ...]] = {}
    dtypes: dict[str, str] = {}
    inv_freq: dict[str, tuple[float, ...]] = {}
    for path in files:
        try:
            header, start = read_header(path)
            shapes |= {name: tuple(entry["shape"]) for name, entry in header.items()}
            dtypes |= {name: str(entry["dtype"]) for name, entry in header.items()}
            inv_freq |= _frequencies(path, header, start)
        except (ValueError, OSError) as error:
            troubles.append(("bad-weights", _bad_file(path.name, str(error))))
    pickles = sorted({path.name for pattern in _PICKLES for path in folder.glob(pattern)})
    return Tensors(shapes, dtypes, inv_freq, tuple(pickles)), tuple(troubles)


def read_header(path: Path) -> tuple[dict[str, Any], int]:
    """The tensors of a safetensors file by name, and where their bytes begin.

    Raises:
        ValueError: It is none, or it contradicts itself.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(LARGEST_HEADER, size - 8):
            raise ValueError(
                f"the header is said to have {length} bytes, the file has {size}: it is cut off or no safetensors"
            )
        content = file.read(length)
    header, _ = parse_json(content, f"the header of {path.name}")
    header.pop("__metadata__", None)
    for name, entry in header.items():
        _check_entry(name, entry, size - 8 - length)
    return header, 8 + length


def shard_names(index: Mapping[str, Any]) -> list[str]:
    """The files that an index names, each once.

    Raises:
        ValueError: It has no map of weights.
    """
    weight_map = index.get("weight_map")
    if not isinstance(weight_map, Mapping):
        raise ValueError(f"{INDEX} has no weight_map")
    return sorted({str(name) for name in weight_map.values()})


def is_inside(folder: Path, name: str) -> bool:
    """Whether `name` is a plain file name in `folder`, whose link, if it is one, stays within the checkpoint.

    The Hub's cache keeps files as links from `snapshots/REVISION` into `blobs` beside it: those stay within.
    """
    if not name or name in (".", "..") or "\0" in name or "/" in name or "\\" in name or os.path.isabs(name):
        return False
    path = folder / name
    if not path.is_symlink():
        return True
    target = path.resolve()
    inside = [folder.resolve()]
    if folder.resolve().parent.name == "snapshots":
        inside.append(folder.resolve().parents[1] / "blobs")
    return any(target.is_relative_to(place) for place in inside)


def _files(folder: Path) -> tuple[list[Path], list[Trouble]]:
    """The safetensors files that may be opened, and the others."""
    troubles: list[Trouble] = []
    names = sorted(path.name for path in folder.glob("*.safetensors"))
    if (folder / INDEX).exists():
        if not is_inside(folder, INDEX):
            return [], [("unsafe-shard", _unsafe(INDEX))]
        try:
            index, found = read_json(folder / INDEX)
            names = shard_names(index)
            troubles += found
        except (ValueError, OSError) as error:
            return [], [("bad-weights", _bad_file(INDEX, str(error)))]
    files = []
    for name in names:
        if not is_inside(folder, name):
            troubles.append(("unsafe-shard", _unsafe(name)))
        elif not (folder / name).is_file():
            troubles.append(("missing-shard", _missing(name)))
        else:
            files.append(folder / name)
    return files, troubles


def _check_entry(name: str, entry: object, size: int) -> None:
    shape = entry.get("shape") if isinstance(entry, Mapping) else None
    offsets = entry.get("data_offsets") if isinstance(entry, Mapping) else None
    whole = [isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in [*_listed(shape), *_listed(offsets)]]
    if not isinstance(shape, list) or not isinstance(offsets, list) or len(offsets) != 2 or not all(whole):
        raise ValueError(f"the entry of {name!r} has no shape and data_offsets of whole numbers")
    if not offsets[0] <= offsets[1] <= size:
        raise ValueError(f"{name!r} is said to end at byte {offsets[1]} of {size}: the file is cut off")


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _frequencies(path: Path, header: Mapping[str, Any], start: int) -> dict[str, tuple[float, ...]]:
    """The tensors called inv_freq, which old versions of Transformers saved."""
    found = {}
    for name, entry in header.items():
        count = math.prod(entry["shape"])
        told = _FORMATS.get(str(entry.get("dtype")))
        if not name.endswith("inv_freq") or told is None or not 0 < count <= _LONGEST_INV_FREQ:
            continue
        letter, width = told
        begin, end = entry["data_offsets"]
        if end - begin != count * width:
            raise ValueError(f"{name!r} has {end - begin} bytes for {count} values of {entry['dtype']}")
        with path.open("rb") as file:
            file.seek(start + begin)
            values = struct.unpack(f"<{count}{letter}", file.read(end - begin))
        found[name] = tuple(_bfloat16(v) for v in values) if letter == "H" else tuple(values)
    return found


def _bfloat16(bits: int) -> float:
    value: float = struct.unpack("<f", struct.pack("<I", bits << 16))[0]
    return value


def _unsafe(name: str) -> Symptom:
    return Symptom(
        seen=f"the weights are said to lie in {json.dumps(name)}",
        consequence="That leads out of the checkpoint's folder. It was not opened; a loader that follows it reads, or "
        "overwrites, somebody else's file.",
        mend="do not load this checkpoint; get it again from where it was published",
        evidence={"file": name},
    )


def _missing(name: str) -> Symptom:
    return Symptom(
        seen=f"{INDEX} names {name}, which is not there",
        consequence="No engine loads the checkpoint; what the missing file would say was not checked.",
        mend=f"download {name} into the folder",
        evidence={"file": name},
        severity=Severity.WARNING,
    )


def _bad_file(name: str, error: str) -> Symptom:
    return Symptom(
        seen=f"{name} cannot be read: {error}",
        consequence="No engine loads it; what its tensors would say was not checked.",
        mend=f"download {name} again",
        evidence={"file": name},
    )
