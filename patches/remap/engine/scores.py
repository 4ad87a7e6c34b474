"""What is done with scores in plain PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor


def softmax(scores: Tensor, sinks: Tensor | None = None) -> Tensor:
    """Along the keys; zeros for a query that sees none."""
    largest = scores.detach().amax(-1, keepdim=True)
    if sinks is not None:
        sinks = sinks.to(scores.dtype)[:, None, None]
        largest = torch.maximum(largest, sinks.detach())
    largest = largest.clamp(min=torch.finfo(scores.dtype).min)
    scores = (scores - largest).exp()
    total = scores.sum(-1, keepdim=True)
    if sinks is not None:
        total = total + (sinks - largest).exp()
    return scores / total.clamp(min=torch.finfo(scores.dtype).tiny)


def by_group(queries: Tensor, keys: Tensor) -> Tensor:
    """(batch, heads, n, a) times (batch, key heads, a, b): the heads of a group share a key head, uncopied."""
    rows, heads, n, _ = queries.shape
    grouped = queries.reshape(rows, keys.shape[1], -1, queries.shape[-1])
    return (grouped @ keys).reshape(rows, heads, n, keys.shape[-1])
