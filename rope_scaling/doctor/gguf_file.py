"""The metadata of a GGUF file, read with llama.cpp's own `gguf` package once its sizes have been checked."""

from __future__ import annotations

import importlib.util
import struct
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any

MOST_KEYS = 2**16
MOST_TENSORS = 2**20
_WIDTHS = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_STRING, _ARRAY = 8, 9

# llama.cpp's key after the architecture's name -> what Transformers calls it
_AS_CONFIG: Mapping[str, str] = MappingProxyType(
    {
        "context_length": "max_position_embeddings",
        "embedding_length": "hidden_size",
        "block_count": "num_hidden_layers",
        "attention.head_count": "num_attention_heads",
        "attention.head_count_kv": "num_key_value_heads",
        "attention.sliding_window": "sliding_window",
    }
)
_TYPES = {"linear": "linear", "yarn": "yarn"}


def read_gguf(path: Path) -> tuple[dict[str, Any], frozenset[str]]:
    """(metadata, names of tensors) of a GGUF file; long lists (vocabularies) are left out.

    Raises:
        ValueError: It is none, or cut off, or contradicts itself.
        ModuleNotFoundError: The package `gguf` is not installed.
    """
    if importlib.util.find_spec("gguf") is None:
        raise ModuleNotFoundError('reading a GGUF file needs the package gguf: pip install "rope-scaling[gguf]"')
    check_bounds(path)
    from gguf import GGUFReader

    try:
        reader = GGUFReader(path)
        fields = {name: field for name, field in reader.fields.items() if len(field.data) <= 64}
        metadata = {name: _plain(field.contents()) for name, field in fields.items()}
        return metadata, frozenset(tensor.name for tensor in reader.tensors)
    except Exception as error:  # the reader trusts the file; what a broken one makes it raise has no common kind
        raise ValueError(f"{path.name} is no readable GGUF file: {type(error).__name__}: {error}") from error


def check_bounds(path: Path) -> None:
    """A ValueError where a count or a length in the header leads out of the file.

    The reader loops over as many entries as a file claims to have, whether they are there or not.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise ValueError(f"{path.name} is no GGUF file: it does not begin with GGUF")
        version = _take(file, "I", path)
        if version not in (2, 3):
            raise ValueError(f"{path.name} has GGUF version {version}; 2 and 3 in little-endian order are read")
        tensors, keys = _take(file, "Q", path), _take(file, "Q", path)
        if tensors > min(MOST_TENSORS, size) or keys > min(MOST_KEYS, size):
            raise ValueError(f"{path.name} claims {tensors} tensors and {keys} keys in {size} bytes: it is damaged")
        for _ in range(keys):
            _skip(file, _take(file, "Q", path), size, path)
            _skip_value(file, _take(file, "I", path), size, path)
        for _ in range(tensors):
            _skip(file, _take(file, "Q", path), size, path)
            dims = _take(file, "I", path)
            if dims > 8:
                raise ValueError(f"{path.name} has a tensor of {dims} dimensions: it is damaged")
            _skip(file, 8 * dims + 12, size, path)


def as_config(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata in the words of a `config.json`, as llama.cpp reads them."""
    arch = str(metadata.get("general.architecture", "unknown"))
    own = {key.removeprefix(f"{arch}."): value for key, value in metadata.items() if key.startswith(f"{arch}.")}
    config: dict[str, Any] = {"model_type": arch}
    config |= {name: own[key] for key, name in _AS_CONFIG.items() if isinstance(own.get(key), (int, float))}
    head_dim = own.get("attention.key_length")
    if isinstance(head_dim, (int, float)):
        config["head_dim"] = head_dim
    rotary = own.get("rope.dimension_count")
    whole = head_dim or _quotient(own.get("embedding_length"), own.get("attention.head_count"))
    parameters: dict[str, Any] = {"rope_type": "default", "rope_theta": own.get("rope.freq_base", 1e4)}
    if isinstance(rotary, (int, float)) and whole and rotary != whole:
        parameters["partial_rotary_factor"] = rotary / whole
    return config | {"rope_parameters": parameters | _scaling(own)}


def _scaling(own: Mapping[str, Any]) -> dict[str, Any]:
    """The scaling that llama.cpp applies: a factor counts as linear where no type is written (load_hparams)."""
    kind = _TYPES.get(str(own.get("rope.scaling.type", "linear")))
    factor = own.get("rope.scaling.factor", own.get("rope.scale_linear"))
    if kind is None or not isinstance(factor, (int, float)) or factor in (0, 1):
        return {}
    said: dict[str, Any] = {"rope_type": kind, "factor": factor}
    if kind == "yarn":
        said["original_max_position_embeddings"] = own.get(
            "rope.scaling.original_context_length", own.get("context_length")
        )
    return said


def _quotient(hidden: object, heads: object) -> int | None:
    if not isinstance(hidden, int) or not isinstance(heads, int) or heads < 1:
        return None
    return hidden // heads


def _skip_value(file: IO[bytes], kind: int, size: int, path: Path, depth: int = 0) -> None:
    if kind in _WIDTHS:
        _skip(file, _WIDTHS[kind], size, path)
    elif kind == _STRING:
        _skip(file, _take(file, "Q", path), size, path)
    elif kind == _ARRAY and depth < 4:
        inner, count = _take(file, "I", path), _take(file, "Q", path)
        if inner in _WIDTHS:
            _skip(file, count * _WIDTHS[inner], size, path)
            return
        for _ in range(count):  # ends at the end of the file, where _take raises
            _skip_value(file, inner, size, path, depth + 1)
    else:
        raise ValueError(f"{path.name} has a value of unknown type {kind}: it is damaged")


def _skip(file: IO[bytes], length: int, size: int, path: Path) -> None:
    if file.tell() + length > size:
        raise ValueError(f"{path.name} is cut off: an entry ends behind byte {size}")
    file.seek(length, 1)


def _take(file: IO[bytes], kind: str, path: Path) -> int:
    content = file.read(struct.calcsize(kind))
    if len(content) < struct.calcsize(kind):
        raise ValueError(f"{path.name} is cut off within its header")
    value: int = struct.unpack(f"<{kind}", content)[0]
    return value


def _plain(value: Any) -> Any:
    """A value of the reader's without numpy in it."""
    if hasattr(value, "tolist"):
        return value.tolist()
    return [_plain(each) for each in value] if isinstance(value, list) else value
