"""The rotation of cached keys as a Triton kernel: rows that have not grown cost one look each, and no host waits."""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

_SLOTS = 64
"""Slots of one program."""


@triton.jit
def rerotate_kernel(
    keys,
    residual,
    positions,
    old,
    new,
    inv_freq,
    factors,
    axes,
    heads,
    slots,
    pairs,
    key_row,
    key_head,
    key_slot,
    rest_row,
    rest_head,
    rest_slot,
    at_axis,
    at_row,
    at_slot,
    start,
    sense,
    HAS_REST: tl.constexpr,  # noqa: N803
    HAS_AXES: tl.constexpr,  # noqa: N803
    INTERLEAVED: tl.constexpr,  # noqa: N803
    PAIRS: tl.constexpr,  # noqa: N803
    SLOTS: tl.constexpr,  # noqa: N803
    WIDE: tl.constexpr,  # noqa: N803
):
    """Turn `SLOTS` slots of one head of one row; see `rerotate.rerotate` for what the tensors are."""
    row = (tl.program_id(0) // heads).to(tl.int64)
    head = (tl.program_id(0) % heads).to(tl.int64)
    before = tl.load(old + row)
    after = tl.load(new + row)
    if (before >= 0) & (before != after):
        slot = (tl.program_id(1) * SLOTS + tl.arange(0, SLOTS)).to(tl.int64)[:, None]
        pair = tl.arange(0, PAIRS)[None, :]
        there = (slot < slots) & (pair < pairs)
        where = positions + row * at_row + slot * at_slot
        if HAS_AXES:
            where += tl.load(axes + pair, mask=pair < pairs, other=0) * at_axis
        at = tl.load(where + pair * 0, mask=there, other=0).to(tl.float32)
        was = at * tl.load(inv_freq + before * pairs + pair, mask=pair < pairs, other=0.0)
        will = at * tl.load(inv_freq + after * pairs + pair, mask=pair < pairs, other=0.0)
        angle = will.to(tl.float64) - was.to(tl.float64)
        ratio = tl.load(factors + after).to(tl.float64) / tl.load(factors + before).to(tl.float64)
        cos = (tl.cos(angle) * ratio).to(WIDE)
        sin = (tl.sin(angle) * ratio * sense).to(WIDE)
        if INTERLEAVED:
            one = start + 2 * pair
            other = one + 1
        else:
            one = start + pair
            other = one + pairs
        key = keys + row * key_row + head * key_head + slot * key_slot
        x = tl.load(key + one, mask=there, other=0.0).to(WIDE)
        y = tl.load(key + other, mask=there, other=0.0).to(WIDE)
        rest = residual + row * rest_row + head * rest_head + slot * rest_slot
        if HAS_REST:
            x += tl.load(rest + one, mask=there, other=0.0).to(WIDE)
            y += tl.load(rest + other, mask=there, other=0.0).to(WIDE)
        turned_x = x * cos - y * sin
        turned_y = y * cos + x * sin
        kept_x = turned_x.to(keys.dtype.element_ty)
        kept_y = turned_y.to(keys.dtype.element_ty)
        tl.store(key + one, kept_x, mask=there)
        tl.store(key + other, kept_y, mask=there)
        if HAS_REST:
            tl.store(rest + one, (turned_x - kept_x.to(WIDE)).to(residual.dtype.element_ty), mask=there)
            tl.store(rest + other, (turned_y - kept_y.to(WIDE)).to(residual.dtype.element_ty), mask=there)


def launch(
    keys: Tensor,
    residual: Tensor | None,
    positions: Tensor,
    old: Tensor,
    new: Tensor,
    inv_freq: Tensor,
    factors: Tensor,
    axes: Tensor | None,
    start: int,
    interleaved: bool,
    sense: int,
) -> None:
    """Turn all of it; the arguments are those of `rerotate.rerotate`."""
    rows, heads, slots, _ = keys.shape
    pairs = inv_freq.shape[-1]
    rest = keys if residual is None else residual
    assert keys.stride(-1) == rest.stride(-1) == 1
    kernel: Any = rerotate_kernel
    kernel[(rows * heads, triton.cdiv(slots, _SLOTS))](
        keys,
        rest,
        positions,
        old,
        new,
        inv_freq.contiguous(),
        factors,
        old if axes is None else axes,
        heads,
        slots,
        pairs,
        *keys.stride()[:3],
        *rest.stride()[:3],
        *positions.stride(),
        start,
        sense,
        HAS_REST=residual is not None,
        HAS_AXES=axes is not None and positions.shape[0] > 1,
        INTERLEAVED=interleaved,
        PAIRS=triton.next_power_of_2(pairs),
        SLOTS=_SLOTS,
        WIDE=tl.float64 if keys.dtype == torch.float64 else tl.float32,
    )
