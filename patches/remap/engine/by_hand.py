"""Attention of one tile in plain PyTorch, for what no kernel takes: strips along the diagonal, other devices."""

from __future__ import annotations

import torch
from torch import Tensor

from rope_scaling.patches.remap.engine.part import Gradients, Part

_SCORES = 2**22
"""Scores held at once: 16 MiB in float32."""


def forward(query: Tensor, key: Tensor, value: Tensor, seen: Tensor | bool, scale: float) -> Part:
    """See `kernels.forward`; every query sees a key."""
    wide = torch.promote_types(query.dtype, torch.float32)
    parts = []
    for some in _rows(query, key):
        scores = _scores(query[:, :, some], key, _seen(seen, some, query, key), scale, wide)
        lse = scores.logsumexp(-1)
        shares = (scores - lse[..., None]).exp()
        parts.append((_by_group(shares, value.to(wide)).to(query.dtype), lse))
    return Part(torch.cat([out for out, _ in parts], dim=2), torch.cat([lse for _, lse in parts], dim=2))


def backward(
    grad: Tensor, query: Tensor, key: Tensor, value: Tensor, whole: Part, seen: Tensor | bool, scale: float
) -> Gradients:
    """See `kernels.backward`."""
    wide = torch.promote_types(query.dtype, torch.float32)
    grad, out, held = grad.to(wide), whole.out.to(wide), value.to(wide)
    by_query = torch.empty(query.shape, dtype=wide, device=query.device)
    by_key, by_value = (torch.zeros(one.shape, dtype=wide, device=one.device) for one in (key, value))
    for some in _rows(query, key):
        scores = _scores(query[:, :, some], key, _seen(seen, some, query, key), scale, wide)
        shares = (scores - whole.lse[:, :, some, None]).exp()
        by_value += _over_group(shares, grad[:, :, some], value)
        delta = (grad[:, :, some] * out[:, :, some]).sum(-1, keepdim=True)
        by_score = shares * (_by_group(grad[:, :, some], held.mT) - delta) * scale
        by_query[:, :, some] = _by_group(by_score, key.to(wide))
        by_key += _over_group(by_score, query[:, :, some].to(wide), key)
    return Gradients(by_query, by_key, by_value)


def _rows(query: Tensor, key: Tensor) -> list[slice]:
    """Some queries at a time."""
    size = max(1, _SCORES // (query.shape[0] * query.shape[1] * key.shape[2]))
    return [slice(first, first + size) for first in range(0, query.shape[2], size)]


def _seen(seen: Tensor | bool, some: slice, query: Tensor, key: Tensor) -> Tensor | None:
    if isinstance(seen, Tensor):
        return seen[some]
    if not seen:
        return None
    rows = torch.arange(query.shape[2], device=query.device)[some]
    return torch.arange(key.shape[2], device=key.device) <= rows[:, None]


def _scores(query: Tensor, key: Tensor, seen: Tensor | None, scale: float, dtype: torch.dtype) -> Tensor:
    scores = _by_group(query.to(dtype) * scale, key.to(dtype).mT)
    return scores if seen is None else scores.masked_fill(~seen, -torch.inf)


def _by_group(one: Tensor, other: Tensor) -> Tensor:
    """(batch, heads, n, a) times (batch, key heads, a, b): the heads of a group share a key head, uncopied."""
    rows, heads, n, width = one.shape
    grouped = one.reshape(rows, other.shape[1], -1, width)
    return (grouped @ other).reshape(rows, heads, n, other.shape[-1])


def _over_group(one: Tensor, other: Tensor, key: Tensor) -> Tensor:
    """(batch, heads, n, a) and (batch, heads, n, b), summed over n and a group: (batch, key heads, a, b)."""
    rows, groups = one.shape[0], key.shape[1]
    return one.reshape(rows, groups, -1, one.shape[-1]).mT @ other.reshape(rows, groups, -1, other.shape[-1])
