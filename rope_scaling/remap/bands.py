"""Bands: regions of (query, key) pairs, each with a map for queries and one for keys."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from rope_scaling.remap.maps import IDENTITY, PositionMap


@dataclass(frozen=True)
class Region:
    """Pairs of a query i and a key j at or before it; all conditions hold together, None is no bound.

    Attributes:
        first: Queries first <= i.
        last: Queries i < last.
        nearest: Distances nearest <= i - j; 0 at least, so no region reaches past a query.
        farthest: Distances i - j < farthest.
        chunk: Tokens in a chunk, for the two bounds that follow.
        closest: Chunks between, closest <= i // chunk - j // chunk.
        remotest: Chunks between, i // chunk - j // chunk < remotest.
    """

    first: int = 0
    last: int | None = None
    nearest: int = 0
    farthest: int | None = None
    chunk: int | None = None
    closest: int = 0
    remotest: int | None = None

    def __post_init__(self) -> None:
        for name in ("first", "nearest", "closest"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")
        for low, high in (("first", "last"), ("nearest", "farthest"), ("closest", "remotest")):
            if getattr(self, high) is not None and getattr(self, high) <= getattr(self, low):
                raise ValueError(f"{high} must be above {low}, got {getattr(self, high)} and {getattr(self, low)}")
        if self.chunk is None and (self.closest or self.remotest is not None):
            raise ValueError("closest and remotest count chunks: give chunk, the tokens of one")
        if self.chunk is not None and self.chunk < 1:
            raise ValueError(f"chunk must be at least 1, got {self.chunk}")

    def holds(self, i: Tensor, j: Tensor) -> Tensor:
        """Whether pairs lie in it, bool, for queries `i` and keys `j` (int64) that broadcast."""
        distance = i - j
        held = (i >= self.first) & (distance >= self.nearest)
        if self.last is not None:
            held = held & (i < self.last)
        if self.farthest is not None:
            held = held & (distance < self.farthest)
        if self.chunk is not None:
            between = i // self.chunk - j // self.chunk
            held = held & (between >= self.closest)
            if self.remotest is not None:
                held = held & (between < self.remotest)
        return held


@dataclass(frozen=True)
class Band:
    """A region in which query i sees key j at the relative position queries(i) - keys(j)."""

    region: Region
    queries: PositionMap = IDENTITY
    keys: PositionMap = IDENTITY

    @property
    def plain(self) -> bool:
        """Whether both maps are the identity: nothing to turn."""
        return self.queries == IDENTITY and self.keys == IDENTITY


Bands: TypeAlias = tuple[Band, ...]
"""Every pair of a query and a key at or before it lies in exactly one band."""


def check_cover(bands: Bands, n: int) -> None:
    """ValueError unless each causal pair of `n` tokens lies in exactly one band; O(n²)."""
    index = torch.arange(n)
    i, j = index[:, None], index[None, :]
    times = torch.zeros(n, n, dtype=torch.int64)
    for band in bands:
        times += band.region.holds(i, j)
    wrong = (times != (j <= i)).nonzero()
    if len(wrong):
        query, key = wrong[0].tolist()
        raise ValueError(f"query {query} sees key {key} in {times[query, key]} bands, must be {int(key <= query)}")


def position_matrix(bands: Bands, n: int) -> Tensor:
    """The relative position of each pair of `n` tokens, (n queries, n keys), float64; NaN above the diagonal."""
    index = torch.arange(n)
    i, j = index[:, None], index[None, :]
    positions = torch.full((n, n), torch.nan, dtype=torch.float64)
    for band in bands:
        relative = band.queries(i) - band.keys(j)
        positions = torch.where(band.region.holds(i, j), relative, positions)
    return positions
