"""The rotation that attention really applies, measured from the queries and keys of a running model."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

from rope_scaling.patches.discover import attention_scaling, find_rotary, frequency_buffers
from rope_scaling.patches.laws.watch import Attention, left_as_it_was, unit_roundoff, watch_token, without_rotation

Layout = Literal["half-split", "interleaved"]
Vectors: TypeAlias = "dict[int, Tensor]"
"""(heads, dimensions) for each position."""


@dataclass(frozen=True)
class Table:
    """Frequencies that a live rotary module holds.

    Attributes:
        layer_type: Which layers, None where all share one.
        inv_freq: (rotary_dim / 2,), radians per token, float64.
        attention_factor: What the module multiplies cos and sin with.
    """

    layer_type: str | None
    inv_freq: Tensor
    attention_factor: float


@dataclass(frozen=True)
class Rotation:
    """How one layer turns its queries and keys.

    Attributes:
        layout: Which dimensions are a pair.
        start: First rotated dimension of a head.
        direction: 1 as in the papers, -1 the other way round, which serves as well.
        inv_freq: Measured, (rotary_dim / 2,), radians per token.
        misfit: What is no rotation in this layout, relative to the vectors' length.
        table: The live frequencies that come nearest.
        angle_error: Largest difference between a measured angle and position × live frequency, radians.
    """

    layout: Layout
    start: int
    direction: int
    inv_freq: tuple[float, ...]
    misfit: float
    table: Table
    angle_error: float


@dataclass(frozen=True)
class Recording:
    """Every attention layer at several positions, and without rotation.

    Attributes:
        layers: One for each layer that ran: position -> its query, key and value.
        unrotated: One for each layer, or a sentence where rotation cannot be switched off.
        tables: All frequencies in the model.
        eps: Of the dtype that the model computes in.
        same: How many layers, from the first, see the very same hidden state at every position.
    """

    layers: list[dict[int, Attention]]
    unrotated: list[Attention] | str
    tables: list[Table]
    eps: float
    same: int

    @property
    def reach(self) -> int:
        """The farthest position."""
        return max(self.layers[0])

    @property
    def angle_bound(self) -> float:
        """What rounding of vectors, and of float32 angles, may turn a pair by, radians."""
        return 8 * self.eps + self.reach * 2.0**-23

    def rotated(self) -> list[dict[int, Attention]]:
        """The layers whose queries or keys follow the position; layers without rotation (NoPE) do not."""
        return [layer for layer in self.layers if changes(layer, "query") or changes(layer, "key")]


def record(model: nn.Module, length: int, token: int) -> Recording:
    """Watch one token at positions 0, 1, 3, 4, 7, 16, 64, ... and the last two that are 3 apart within `length`.

    Raises:
        TypeError: The model has no rotary embedding.
        ValueError: It has one that is not understood, or its attention cannot be watched.
    """
    tables = _tables(model)
    far = max(length, 8) - 1
    positions = sorted({0, 1, 3, 4, 7, far - 3, far} | {4**i for i in range(2, 10) if 4**i < far - 3})
    with left_as_it_was(model):
        seen = {position: watch_token(model, position, token) for position in positions}
        try:
            with without_rotation(model):
                unrotated: list[Attention] | str = watch_token(model, 0, token)
        except (TypeError, AttributeError) as error:
            unrotated = f"the rotation cannot be switched off: {error}"
    if not seen[0] or len({len(layers) for layers in seen.values()}) > 1:
        raise ValueError(
            "its attention cannot be watched: it runs no torch function that is known for attention; "
            "load the model with attn_implementation='eager' or 'sdpa'"
        )
    layers = [{p: seen[p][i] for p in positions} for i in range(len(seen[0]))]
    # attention sinks take a part that follows the rounding of q·k: only the first layer's input is surely the same
    sinks = any(name.endswith("sinks") for name, _ in model.named_parameters())
    return Recording(layers, unrotated, tables, unit_roundoff(model), 1 if sinks else len(layers))


def measure_rotations(recording: Recording) -> list[Rotation]:
    """One for each layer that rotates: the layout that fits best, and the live frequencies that come nearest."""
    return [_measure(layer, recording) for layer in recording.rotated()]


def changes(layer: dict[int, Attention], what: str) -> bool:
    """Whether query, key or value differ, in any bit, between positions."""
    return any(not torch.equal(getattr(layer[0], what), getattr(one, what)) for one in layer.values())


def _tables(model: nn.Module) -> list[Table]:
    return [
        Table(kind, site.module.get_buffer(name).detach().double().cpu(), attention_scaling(site.module, kind))
        for site in find_rotary(model)
        for name, kind in frequency_buffers(site.module).items()
    ]


def _measure(layer: dict[int, Attention], recording: Recording) -> Rotation:
    candidates = [
        _fit(layer, table, layout, start)
        for table in recording.tables
        for layout in _layouts(len(table.inv_freq))
        for start in sorted({0, layer[0].query.shape[-1] - 2 * len(table.inv_freq)})
        if start >= 0
    ]
    if not candidates:
        raise ValueError("its heads have fewer dimensions than its rotary module turns")
    good = max(min(one.misfit for one in candidates), recording.angle_bound)
    # tables of other frequencies fit a layout alike: among the fits that are as good, the nearest angles
    return min((one for one in candidates if one.misfit <= good), key=lambda one: one.angle_error)


def _layouts(pairs: int) -> tuple[Layout, ...]:
    return ("half-split", "interleaved") if pairs > 1 else ("half-split",)


def _fit(layer: dict[int, Attention], table: Table, layout: Layout, start: int) -> Rotation:
    window = slice(start, start + 2 * len(table.inv_freq))
    vectors = {p: torch.cat([one.query[:, window], one.key[:, window]]) for p, one in layer.items()}
    at_zero = _complex(vectors[0], layout)  # (heads, rotary_dim / 2)
    turns, rests = {}, []
    for position, vector in vectors.items():
        now = _complex(vector, layout)
        overlap = (now * at_zero.conj()).sum(dim=0)  # (rotary_dim / 2,)
        turns[position] = overlap / overlap.abs().clamp_min(1e-300)
        rests.append(float((now - turns[position] * at_zero).norm() / at_zero.norm()))
    direction, error = min(((sign, _angle_error(turns, table, sign)) for sign in (1, -1)), key=lambda pair: pair[1])
    inv_freq = _unwound({p: direction * turn.angle() for p, turn in turns.items()})
    return Rotation(layout, start, direction, inv_freq, max(rests), table, error)


def _complex(vectors: Tensor, layout: Layout) -> Tensor:
    """Each pair of dimensions as one complex number, (heads, rotary_dim / 2)."""
    pairs = vectors.shape[-1] // 2
    if layout == "half-split":
        return torch.complex(vectors[:, :pairs].contiguous(), vectors[:, pairs:].contiguous())
    return torch.complex(vectors[:, 0::2].contiguous(), vectors[:, 1::2].contiguous())


def _angle_error(turns: Vectors, table: Table, direction: int) -> float:
    apart = [
        turn * torch.polar(torch.ones_like(table.inv_freq), -direction * position * table.inv_freq)
        for position, turn in turns.items()
    ]
    return float(torch.stack(apart).angle().abs().max())


def _unwound(angles: Vectors) -> tuple[float, ...]:
    """Radians per token: each farther position sharpens the estimate of the nearer ones, (rotary_dim / 2,)."""
    estimate = angles[1]  # no frequency in use exceeds half a turn per token
    for position in sorted(set(angles) - {0, 1}):
        whole = torch.round((estimate * position - angles[position]) / (2 * math.pi))
        estimate = (angles[position] + 2 * math.pi * whole) / position
    return tuple(estimate.tolist())
