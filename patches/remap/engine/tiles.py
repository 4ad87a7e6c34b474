"""Cutting the causal triangle into rectangles and triangles that each lie in one band, by lengths alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise

from rope_scaling.remap import Region

_THIN = 64
"""A strip along the diagonal that is no wider is one tile with a mask, not many tiny triangles."""


class Shape(Enum):
    """Which pairs of a tile count, by offsets from its corner."""

    FULL = "all"
    LOWER = "key <= query"
    UPPER = "key >= query"
    STRIP = "those of the region"


@dataclass(frozen=True)
class Tile:
    """Pairs of queries first <= i < last and keys start <= j < stop that lie in one band.

    As many keys as queries, unless it is full or a strip.
    """

    band: int
    shape: Shape
    first: int
    last: int
    start: int
    stop: int


@dataclass(frozen=True)
class Block:
    """Queries first <= i < last, and the tiles of all that they see."""

    first: int
    last: int
    tiles: tuple[Tile, ...]


def cut(regions: tuple[Region, ...], first: int, last: int, size: int) -> list[Block]:
    """Blocks of at most `size` of the queries first <= i < last, which see the keys 0 <= j < last."""
    edges = {first, last}
    for region in regions:
        edges |= {edge for edge in (region.first, region.last) if edge is not None and first < edge < last}
        if region.chunk is not None:
            edges |= {*range(first // region.chunk * region.chunk + region.chunk, last, region.chunk)}
    bounds = sorted(edges)
    blocks = []
    for a, b in pairwise(bounds):
        for start in range(a, b, size):
            stop = min(start + size, b)
            tiles = [tile for band, region in enumerate(regions) for tile in _tiles(band, region, start, stop)]
            blocks.append(Block(start, stop, tuple(tiles)))
    return blocks


def _tiles(band: int, region: Region, a: int, b: int) -> Iterator[Tile]:
    """Of one region, for queries a <= i < b that lie in one chunk.

    They see the keys from max(low, i - farthest + 1) to min(high, i - nearest + 1), where low and high are those of
    the chunks: queries are parted where one bound gives way to the other.
    """
    if a < region.first or (region.last is not None and a >= region.last):
        return
    near, far = region.nearest, b if region.farthest is None else region.farthest
    low, high = _keys_of_chunks(region, a, b)
    a, b = max(a, low + near), min(b, high + far - 1)
    parts = [a, *sorted(edge for edge in {low + far, high + near} if a < edge < b), b]
    for a, b in pairwise(parts):
        if a >= b:
            continue
        begins, ends = a >= low + far, a < high + near  # whether either bound moves with the query
        if begins and ends and far - near <= _THIN:
            yield from _strip(band, a, b, near, far)
            continue
        for start in range(a, b, far - near if begins and ends else b - a):
            stop = min(start + far - near, b) if begins and ends else b
            yield from _pieces(band, start, stop, (start - far + 1, begins, low), (start - near, ends, high))


def _keys_of_chunks(region: Region, a: int, b: int) -> tuple[int, int]:
    if region.chunk is None:
        return 0, b
    chunk = a // region.chunk
    low = 0 if region.remotest is None else max(0, (chunk - region.remotest + 1) * region.chunk)
    return low, (chunk - region.closest + 1) * region.chunk


def _strip(band: int, a: int, b: int, near: int, far: int) -> Iterator[Tile]:
    """Keys i - far < j <= i - near."""
    for start in range(a, b, 2 * _THIN):
        stop = min(start + 2 * _THIN, b)
        yield Tile(band, Shape.STRIP, start, stop, start - far + 1, stop - near)


def _pieces(band: int, a: int, b: int, begin: tuple[int, bool, int], end: tuple[int, bool, int]) -> Iterator[Tile]:
    """A bound is (the key where it stands for query a, whether it moves, where it stands otherwise)."""
    start, stop = begin[2], end[2]
    if begin[1]:  # the last query has none of these left
        start = begin[0] + b - a - 1
        if b - a > 1:
            yield Tile(band, Shape.UPPER, a, b - 1, begin[0], start)
    if end[1]:
        stop = end[0]
        yield Tile(band, Shape.LOWER, a, b, stop, stop + b - a)
    if start < stop:
        yield Tile(band, Shape.FULL, a, b, start, stop)
