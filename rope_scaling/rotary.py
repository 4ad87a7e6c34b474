"""Rotating the queries and keys of attention, never its values: R(p) of RoFormer (arXiv 2104.09864v5, eq. 15)."""

from __future__ import annotations

import torch
from torch import Tensor

from rope_scaling.layouts import Layout, join_pairs, split_pairs


def apply_rotary(x: Tensor, cos: Tensor, sin: Tensor, *, layout: Layout = "half-split") -> Tensor:
    """Queries or keys, each pair of dimensions turned by its angle: (a, b) → (a cos − b sin, b cos + a sin).

    The same for any number of position axes: what differs is where cos and sin come from, `rotary_cos_sin` or
    `axial_rotary`. `apply_rotary(x, cos, -sin)` turns back where no attention factor is in them.

    Args:
        x: (..., head_dim), such as (batch, heads, tokens, head_dim).
        cos: (..., rotary_dim / 2), one value for each pair, broadcast against the leading dimensions of `x`: positions
            (tokens,) fit as they are, positions (batch, tokens) as `cos[:, None]`. The dimensions of a head from
            rotary_dim on pass through.
        sin: As `cos`.
        layout: Which dimensions make a pair.

    Returns:
        The shape and dtype of `x`; computed in the wider dtype of `x` and `cos`, rounded once.
    """
    rotary_dim = _checked_rotary_dim(x, cos, sin)
    first, second = split_pairs(x[..., :rotary_dim], layout)
    turned = join_pairs(first * cos - second * sin, second * cos + first * sin, layout).to(x.dtype)
    return turned if rotary_dim == x.shape[-1] else torch.cat((turned, x[..., rotary_dim:]), dim=-1)


def _checked_rotary_dim(x: Tensor, cos: Tensor, sin: Tensor) -> int:
    if cos.shape != sin.shape:
        raise ValueError(f"cos and sin must have one shape, got {tuple(cos.shape)} and {tuple(sin.shape)}")
    if not x.is_floating_point():
        raise TypeError(f"x must be of a floating dtype, got {x.dtype}")
    rotary_dim = 2 * cos.shape[-1]
    if rotary_dim > x.shape[-1]:
        raise ValueError(
            f"cos holds {cos.shape[-1]} pairs, a head of {x.shape[-1]} dimensions has {x.shape[-1] // 2}: give one "
            "value for each pair (of Transformers' doubled tables in the half-split layout that is the first half)"
        )
    leading = x.shape[:-1]
    fits = cos.ndim <= x.ndim and all(
        a in (1, b) for a, b in zip(reversed(cos.shape[:-1]), reversed(leading), strict=False)
    )
    if not fits:
        raise ValueError(
            f"cos of shape {tuple(cos.shape)} does not broadcast against x of shape {tuple(x.shape)}: for "
            "(batch, heads, tokens, head_dim) and positions (batch, tokens) give cos[:, None]"
        )
    return rotary_dim
