"""The lengths at which dynamic scaling has frequencies, as tensors that a forward looks rows up in."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from rope_scaling.rope import Rope
from rope_scaling.schemes import DynamicScaling

STEPS = 32
"""Grid lengths for every doubling: a row of T tokens is scaled for at most 2^(1/32) T, 2.2 % more."""
DOUBLINGS = 16
"""How far the grid goes for a scheme without a largest s: 65536 times L."""


@dataclass(frozen=True)
class Grid:
    """Frequencies for a geometric series of lengths, the first one L.

    Attributes:
        lengths: (rows,), tokens, int64, rising.
        inv_freq: (rows, pairs), radians per token, float32.
        factors: (rows,), what cos and sin are multiplied with, float32.
    """

    lengths: Tensor
    inv_freq: Tensor
    factors: Tensor

    def buffers(self, prefix: str) -> dict[str, Tensor]:
        """By the names that a rotary module holds them under."""
        return {LENGTHS: self.lengths, prefix + FREQUENCIES: self.inv_freq, prefix + FACTORS: self.factors}


_READ = 1e-5
"""Relative: what Transformers, in float32, and we may differ by for one config."""
LENGTHS, FREQUENCIES, FACTORS = "row_lengths", "row_frequencies", "row_factors"
AXES = "row_axes"
GRIDS = "_rope_scaling_grids"
"""Attribute of a rotary module: prefix of its buffers -> `RowScheme`."""


@dataclass(frozen=True)
class RowScheme:
    """What the rows of one rotary module, or of one of its layer types, are scaled by.

    Attributes:
        scheme: With its largest s settled.
        rope: What it starts from.
        factor: What the unpatched module multiplies cos and sin with.
        broadcasts: Whether the module's forward takes frequencies of all rows at once, (rows, 1, pairs), and makes of
            them what it makes of each alone.
    """

    scheme: DynamicScaling
    rope: Rope
    factor: float
    broadcasts: bool


def grid_buffers(grids: dict[str, RowScheme], trained: dict[str, Tensor]) -> dict[str, Tensor]:
    """The grids of a rotary module by the names of their buffers.

    Args:
        grids: What a module holds as `GRIDS`.
        trained: The unpatched module's buffers, with numbers.
    """
    made: dict[str, Tensor] = {}
    for prefix, own in grids.items():
        made |= make_grid(own.scheme, own.rope, trained[prefix + "inv_freq"], own.factor).buffers(prefix)
    return made


def is_grid(name: str) -> bool:
    """Whether a buffer belongs to a grid."""
    return name.endswith((LENGTHS, FREQUENCIES, FACTORS, AXES))


def make_grid(scheme: DynamicScaling, rope: Rope, trained: Tensor, factor: float) -> Grid:
    """The grid of a scheme over a checkpoint's RoPE, computed in float64, on the CPU.

    Args:
        scheme: With its largest s settled.
        rope: What the checkpoint was trained with.
        trained: (pairs,), the frequencies that the unpatched module holds. Where they are the scheme's for L, up to
            float32, the first row is they themselves: texts within L are then bit for bit those of the unpatched model.
        factor: What the unpatched module multiplies cos and sin with.
    """
    lengths = grid_lengths(rope.original_max_position_embeddings, scheme.factor)
    scaled = [scheme(rope, length) for length in lengths]
    still = trained.shape[0] - rope.rotary_dim // 2  # a proportional RoPE fills up with pairs that do not turn
    rows = torch.tensor([(*one.inv_freq, *[0.0] * still) for one in scaled], dtype=torch.float64, device="cpu").float()
    own = trained.detach().to("cpu", torch.float32)
    if torch.allclose(rows[0], own, rtol=_READ, atol=0):
        rows[0] = own
    factors = torch.tensor([one.attention_factor for one in scaled], dtype=torch.float64, device="cpu").float()
    if math.isclose(factors[0], factor, rel_tol=_READ):
        factors[0] = factor
    differ = (rows[1:] != rows[:-1]).any(-1) | (factors[1:] != factors[:-1])  # longrope has two lists, not hundreds
    kept = torch.cat((differ, differ.new_ones(1)))
    return Grid(torch.tensor(lengths, dtype=torch.int64, device="cpu")[kept], rows[kept], factors[kept])


def grid_lengths(length: int, cap: float | None) -> list[int]:
    """L, L·2^(1/32), ... in tokens, the last one the longest that the largest s reaches."""
    last = math.floor(length * (2**DOUBLINGS if cap is None else cap) + 1e-6)
    steps = math.ceil(STEPS * math.log2(last / length) - 1e-9)
    return sorted({*(min(math.ceil(length * 2 ** (i / STEPS) - 1e-6), last) for i in range(steps)), length, last})
