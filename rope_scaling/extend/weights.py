"""The headers of safetensors files, never their tensors but for small `inv_freq` ones of old checkpoints."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Sequence
from typing import Any

from rope_scaling.extend.files import Entry

_LARGEST_HEADER = 100_000_000
"""As the format's own library has it."""
_AGREE = 4e-3
"""Relative: bfloat16 keeps 8 bits."""


def read_header(entry: Entry) -> dict[str, Any]:
    """The tensors that a safetensors file says it holds.

    Raises:
        ValueError: The header is damaged, or the file is shorter than it says.
    """
    with entry.path.open("rb") as file:
        start = file.read(8)
        size = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 0 < size <= min(_LARGEST_HEADER, entry.size - 8):
            raise ValueError(f"{entry.name} is damaged: its header says {size} bytes, and the file has {entry.size}")
        held = file.read(size)
    try:
        header = json.loads(held)
        tensors = {name: told for name, told in header.items() if name != "__metadata__"}
        end = max((int(told["data_offsets"][1]) for told in tensors.values()), default=0)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
        raise ValueError(f"{entry.name} is damaged: its header cannot be read ({type(error).__name__})") from None
    if 8 + size + end > entry.size:
        raise ValueError(
            f"{entry.name} is cut off: its tensors end at byte {8 + size + end}, and the file has {entry.size}"
        )
    return tensors


def inv_freq_in_weights(entries: Iterable[Entry], trained: Sequence[Sequence[float]]) -> list[str]:
    """What to tell of `inv_freq` tensors that old checkpoints hold: engines that read them would undo the scaling.

    Args:
        entries: The safetensors files; their headers are checked on the way.
        trained: The frequencies that the config means, one list for each RoPE of the model.
    """
    held = {e.name: [name for name in read_header(e) if name.endswith("inv_freq")] for e in entries}
    names = [name for found in held.values() for name in found]
    if not names:
        return []
    told = [
        f"the weights hold {len(names)} inv_freq tensors ({names[0]}, ...): Transformers 5, vLLM and SGLang skip them, "
        "an engine that reads them would rotate as before"
    ]
    other = [name for e in entries for name in held[e.name] if not _agrees(e, name, trained)]
    if other:
        told.append(
            f"{len(other)} of them ({other[0]}, ...) are not the frequencies that the config means: one of the two is "
            "wrong; rope-scaling inspect CHECKPOINT --probe measures which"
        )
    return told


def _agrees(entry: Entry, name: str, trained: Sequence[Sequence[float]]) -> bool:
    from safetensors import safe_open

    with safe_open(entry.path, framework="pt") as file:
        if file.get_slice(name).get_shape()[-1:] not in [[len(one)] for one in trained]:
            return False
        found = file.get_tensor(name).double().flatten().tolist()
    return any(
        len(found) == len(one) and all(abs(f - t) <= _AGREE * t for f, t in zip(found, one, strict=True))
        for one in trained
    )
