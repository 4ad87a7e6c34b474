"""Vectors at the positions that several maps give them, each turned when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable, Collection

import torch
from torch import Tensor

from rope_scaling.patches.remap.engine.pairs import RotatedPairs, Turn, turn_by, turned_in_blocks


class Placed:
    """Queries or keys, (batch, heads, tokens, dims), by the map that places them.

    In half precision turned vectors would be rounded a second time. A CPU multiplies float32 as fast as bfloat16, so
    there they are kept in float32; elsewhere they are rounded (docs/remap.md has what that costs).
    """

    def __init__(self, vectors: Tensor, offsets: Tensor, pairs: RotatedPairs) -> None:
        """`offsets`: (maps, tokens), by how many tokens each map moves each vector, float64."""
        self._vectors = vectors
        self._offsets = offsets
        self._pairs = pairs
        self._made: dict[int, Tensor] = {}

    def by(self, place: int | None) -> Tensor:
        """The vectors where the map of this number puts them, or where they are."""
        if place is None:
            return self._vectors
        if place not in self._made:
            wide = self._vectors.to(self._dtype()) if self._vectors.device.type == "cpu" else self._vectors
            self._made[place] = turned_in_blocks(wide, self._turn(place), self._pairs)
        return self._made[place]

    def forget_all_but(self, places: Collection[int | None]) -> None:
        """Free the memory of maps that are not needed again."""
        self._made = {place: one for place, one in self._made.items() if place in places}

    def back(self, place: int | None, gradient: Tensor) -> Tensor:
        """A gradient by what `by` has given, as a gradient by the vectors."""
        return gradient if place is None else turned_in_blocks(gradient, self._turn(place, -1), self._pairs)

    def _turn(self, place: int, sense: int = 1) -> Callable[[slice], Turn]:
        """No table of the whole text's angles is made: it would be as large as a head of keys, and larger meanwhile."""
        return lambda tokens: turn_by(sense * self._offsets[place, tokens], self._pairs, self._dtype())

    def _dtype(self) -> torch.dtype:
        return torch.promote_types(self._vectors.dtype, torch.float32)
