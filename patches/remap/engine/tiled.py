"""Attention tile by tile, each by a kernel of its own band, merged by their logarithms; memory linear in length."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from rope_scaling.patches.remap.engine import one_tile
from rope_scaling.patches.remap.engine.coded import CodedBand
from rope_scaling.patches.remap.engine.pairs import RotatedPairs
from rope_scaling.patches.remap.engine.part import Gradients, Part
from rope_scaling.patches.remap.engine.placed import Placed
from rope_scaling.patches.remap.engine.tiles import Block, Tile, cut

_QUERIES = 1024
"""Queries of a block, turned and merged at once; of 2048 the peak of a prefill was half as much again."""


@dataclass(frozen=True)
class Inputs:
    """Queries, keys and values of plain causal attention, and where the bands put them.

    Attributes:
        query: (batch, heads, queries, dims), the last slots of the keys.
        key: (batch, key heads, keys, dims).
        value: (batch, key heads, keys, value dims).
        bands: Their maps are rows of the offsets.
        query_offsets: (maps, queries), float64, in tokens.
        key_offsets: (maps, keys), float64.
        pairs: Which dimensions turn.
        scale: Multiplies the scores.
        sinks: (heads,), scores that take part in the softmax and carry no value.
    """

    query: Tensor
    key: Tensor
    value: Tensor
    bands: tuple[CodedBand, ...]
    query_offsets: Tensor
    key_offsets: Tensor
    pairs: RotatedPairs
    scale: float
    sinks: Tensor | None = None

    @property
    def behind(self) -> int:
        """Keys before the first query."""
        return self.key.shape[2] - self.query.shape[2]

    @property
    def wide(self) -> torch.dtype:
        """In which dtype is summed."""
        return torch.promote_types(self.query.dtype, torch.float32)

    def queries_of(self, block: Block) -> tuple[slice, Placed]:
        """Where the queries of a block stand among all, and they."""
        here = slice(block.first - self.behind, block.last - self.behind)
        return here, Placed(self.query[:, :, here], self.query_offsets[:, here], self.pairs)


def forward(given: Inputs) -> Part:
    """`Part.out` is laid out as (batch, queries, heads, value dims)."""
    rows, heads, queries, _ = given.query.shape
    out = given.query.new_empty((rows, queries, heads, given.value.shape[-1])).transpose(1, 2)
    lse = given.query.new_empty((rows, heads, queries), dtype=given.wide)
    keys = Placed(given.key, given.key_offsets, given.pairs)
    for block, needed in _blocks(given.bands, given.behind, given.key.shape[2]):
        here, query = given.queries_of(block)
        total = over_tiles(given, block, query, keys)
        out[:, :, here], lse[:, :, here] = total if given.sinks is None else _sunk(total, given.sinks)
        keys.forget_all_but(needed)
    return Part(out, lse)


def backward(given: Inputs, grad: Tensor, whole: Part) -> Gradients:
    """Gradients for that of `whole.out`, (batch, heads, queries, value dims)."""
    keys = Placed(given.key, given.key_offsets, given.pairs)
    by_query, by_value = torch.empty_like(given.query), torch.zeros_like(given.value, dtype=given.wide)
    by_key = {band.keys: torch.zeros_like(given.key, dtype=given.wide) for band in given.bands}
    for block, needed in _blocks(given.bands, given.behind, given.key.shape[2]):
        here, query = given.queries_of(block)
        by_own = {band.queries: torch.zeros_like(given.query[:, :, here], dtype=given.wide) for band in given.bands}
        for tile in block.tiles:
            band, own, seen = given.bands[tile.band], _own(tile, block), slice(tile.start, tile.stop)
            q, k, v = query.by(band.queries)[:, :, own], keys.by(band.keys)[:, :, seen], given.value[:, :, seen]
            part = Part(*(one[:, :, here][:, :, own] for one in whole))
            found = one_tile.backward(tile, band.region, grad[:, :, here][:, :, own], q, k, v, part, given.scale)
            by_own[band.queries][:, :, own] += found.query
            by_key[band.keys][:, :, seen] += found.key
            by_value[:, :, seen] += found.value
        by_query[:, :, here] = _total(query.back(place, one) for place, one in by_own.items())
        keys.forget_all_but(needed)
    total = _total(keys.back(place, one) for place, one in by_key.items())
    return Gradients(by_query, total.to(given.key.dtype), by_value.to(given.value.dtype))


def backward_sinks(grad: Tensor, whole: Part, sinks: Tensor) -> Tensor:
    """(heads,): a sink is a key without a value, so a score that grows takes from all that is seen."""
    shares = (sinks[:, None] - whole.lse).exp()
    return -(shares * (grad * whole.out).sum(-1)).sum((0, 2)).to(sinks.dtype)


def over_tiles(given: Inputs, block: Block, query: Placed, keys: Placed) -> Part:
    """The queries of a block over all that they see."""

    def attended(tile: Tile) -> Part:
        band, own, seen = given.bands[tile.band], _own(tile, block), slice(tile.start, tile.stop)
        q, k, v = query.by(band.queries)[:, :, own], keys.by(band.keys)[:, :, seen], given.value[:, :, seen]
        return one_tile.forward(tile, band.region, q, k, v, given.scale)

    tiles = sorted(block.tiles, key=lambda tile: tile.first - tile.last)
    if tiles[0].last - tiles[0].first == block.last - block.first:
        first = attended(tiles.pop(0))  # alone, it is to the last bit what the kernel makes of it
        total = Part(first.out.to(given.wide), first.lse)
    else:
        shape = (*given.query.shape[:2], block.last - block.first)
        out = given.query.new_zeros((*shape, given.value.shape[-1]), dtype=given.wide)
        total = Part(out, out.new_full(shape, -torch.inf))
    for tile in tiles:
        _merge(total, _own(tile, block), attended(tile))
    return total


def _merge(total: Part, own: slice, part: Part) -> None:
    """Take one more part into the sum: outs weigh as the exponentials of their logarithms."""
    out, lse = total.out[:, :, own], total.lse[:, :, own]
    out.lerp_(part.out.to(out.dtype), (part.lse - lse).sigmoid()[..., None])
    lse.copy_(torch.logaddexp(lse, part.lse))


def _sunk(total: Part, sinks: Tensor) -> Part:
    """The sinks take part in the sum."""
    scores = sinks[:, None].to(total.lse.dtype)
    return Part(total.out * (total.lse - scores).sigmoid()[..., None], torch.logaddexp(total.lse, scores))


def _total(ones: Iterable[Tensor]) -> Tensor:
    first, *others = ones
    for one in others:
        first += one
    return first


def _own(tile: Tile, block: Block) -> slice:
    """The queries of a tile among those of its block."""
    return slice(tile.first - block.first, tile.last - block.first)


@lru_cache(maxsize=64)
def _blocks(bands: tuple[CodedBand, ...], first: int, last: int) -> list[tuple[Block, frozenset[int | None]]]:
    """Blocks of the queries first <= i < last, each with the maps of keys that later ones still need."""
    blocks = cut(tuple(band.region for band in bands), first, last, _QUERIES)
    needed: list[frozenset[int | None]] = [frozenset() for _ in blocks[:1]]
    for block in reversed(blocks[1:]):
        needed.append(needed[-1] | {bands[tile.band].keys for tile in block.tiles})
    return [*zip(blocks, reversed(needed), strict=True)]
