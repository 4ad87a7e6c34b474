"""Dual Chunk Attention: chunks within which distances are true, and between which they are capped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rope_scaling.remap import Band, Bands, Constant, Modulo, Region
from rope_scaling.schemes.remapped import Reach, Remap, check_count


@dataclass(frozen=True)
class DCA(Remap):
    """Keys at j mod s, queries by how many chunks lie between (arXiv 2402.17463v2). It reaches any length.

    A query stands at i mod s for its own chunk, at min(i mod s + s, L - 1) for the one before and at L - 1 for all
    earlier ones. Tokens within w = L - s are always seen at their true distance. The authors' code calls 3/4 of L the
    pretraining length c, takes s = c - L / 16 and caps at c instead of c - 1; we follow the paper, c = L.

    Attributes:
        chunk: s, tokens in a chunk; 3/4 of L unless given, as in the paper.
    """

    name: ClassVar[str] = "dca"
    chunk: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("chunk", self.chunk, 1)

    def _remapped(self, reach: Reach) -> Bands:
        last = reach.trained - 1
        chunk = max(1, reach.trained * 3 // 4) if self.chunk is None else self.chunk
        if chunk > last:
            raise ValueError(
                f"dca's chunk must be below the trained length {reach.trained}, got {chunk}: the rest is the window "
                f"that keeps neighbouring chunks together; try chunk={max(1, reach.trained * 3 // 4)}"
            )
        intra = Region(first=reach.start, chunk=chunk, remotest=1)
        successive = Region(first=reach.start, chunk=chunk, closest=1, remotest=2)
        inter = Region(first=reach.start, chunk=chunk, closest=2)
        keys = Modulo(chunk)
        return (
            Band(intra),  # both modulo s in one chunk: the true distance
            Band(successive, Modulo(chunk, offset=chunk, cap=last), keys),
            Band(inter, Constant(last), keys),
        )
