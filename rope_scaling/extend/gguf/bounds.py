"""The lengths that a GGUF file's header claims, held against the file before a library believes them."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_STRING, _ARRAY = 8, 9
_DEEPEST = 4
"""Arrays of arrays; none is known deeper than two."""
_MOST_DIMENSIONS = 8


class _Header:
    """A cursor that goes no further than the file does."""

    def __init__(self, file: BinaryIO, size: int, name: str) -> None:
        self.file, self.left, self.name = file, size, name

    def take(self, count: int) -> bytes:
        """The next bytes."""
        if not 0 <= count <= self.left:
            raise ValueError(f"{self.name} is damaged: its header claims {count} bytes where {self.left} are left")
        self.left -= count
        return self.file.read(count)

    def skip(self, count: int) -> None:
        """Go past them, without reading."""
        if not 0 <= count <= self.left:
            raise ValueError(f"{self.name} is damaged: its header claims {count} bytes where {self.left} are left")
        self.left -= count
        self.file.seek(count, 1)

    def number(self, form: str) -> int:
        """One little-endian integer."""
        return int(struct.unpack(f"<{form}", self.take(struct.calcsize(f"<{form}")))[0])


def check_bounds(path: Path) -> None:
    """ValueError unless every string and array of the header ends within the file.

    A header of a few bytes may claim 2^60 entries, over which a reader would run out of memory or never come back.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        header = _Header(file, size, path.name)
        if size < 24 or header.take(4) != b"GGUF":
            raise ValueError(f"{path.name} is no GGUF file")
        version = header.number("I")
        if version not in (2, 3):
            raise ValueError(f"{path.name} is a GGUF file of version {version}, little-endian 2 and 3 are read")
        tensors, keys = header.number("Q"), header.number("Q")
        for _ in range(keys):
            header.skip(header.number("Q"))
            _value(header, header.number("I"), 0)
        for _ in range(tensors):
            header.skip(header.number("Q"))
            dimensions = header.number("I")
            if dimensions > _MOST_DIMENSIONS:
                raise ValueError(f"{path.name} is damaged: a tensor claims {dimensions} dimensions")
            header.skip(8 * dimensions + 12)


def _value(header: _Header, kind: int, depth: int) -> None:
    if kind in _SIZES:
        header.skip(_SIZES[kind])
    elif kind == _STRING:
        header.skip(header.number("Q"))
    elif kind == _ARRAY and depth < _DEEPEST:
        inner, count = header.number("I"), header.number("Q")
        if inner in _SIZES:
            header.skip(count * _SIZES[inner])
            return
        for _ in range(count):  # each takes at least 8 bytes, so the file's end stops it
            _value(header, inner, depth + 1)
    else:
        raise ValueError(f"{header.name} is damaged: a key has a value of the unknown type {kind}")
