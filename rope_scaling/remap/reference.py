"""Remapped attention by definition: an explicit matrix of positions, every pair rotated on its own; O(n²)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from rope_scaling.remap.bands import Bands, position_matrix
from rope_scaling.remap.maps import PositionMap


def reference_scores(
    query: Tensor,
    key: Tensor,
    bands: Bands,
    inv_freq: Sequence[float],
    *,
    scaling: float | None = None,
    interleaved: bool = False,
    start: int = 0,
    score_scale: PositionMap | None = None,
) -> Tensor:
    """Scores of queries and keys that are *not* rotated, -inf where a key follows its query.

    Args:
        query: (batch, heads, n queries, head_dim), the last queries of the text.
        key: (batch, key heads, n keys, head_dim), all keys of the text.
        bands: The relative position of each pair.
        inv_freq: (pairs,), radians per token.
        scaling: Multiplies the scores; 1 / √head_dim unless given.
        interleaved: Whether a pair's dimensions are neighbours, or half the rotated dimensions apart.
        start: The first dimension that is rotated; the others are compared as they are.
        score_scale: By what the scores of a query are multiplied, by its index; see `LogRatio`.

    Returns:
        (batch, heads, n queries, n keys), float64.
    """
    query, key = query.double(), key.double()
    key = key.repeat_interleave(query.shape[1] // key.shape[1], dim=1)
    seen = position_matrix(bands, key.shape[2])[-query.shape[2] :]  # (n queries, n keys)
    size = 2 * len(inv_freq)
    still = [d for d in range(query.shape[-1]) if not start <= d < start + size]
    scores = query[..., still] @ key[..., still].mT
    for pair, frequency in enumerate(inv_freq):
        one = start + (2 * pair if interleaved else pair)
        other = one + (1 if interleaved else len(inv_freq))
        q = torch.complex(query[..., one], query[..., other])
        k = torch.complex(key[..., one], key[..., other])
        turned = q[..., :, None] * k[..., None, :].conj() * torch.exp(1j * seen * frequency)
        scores = scores + turned.real
    scores = scores * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    if score_scale is not None:
        scores = scores * score_scale(torch.arange(key.shape[2])[-query.shape[2] :])[:, None]
    return scores.masked_fill(seen.isnan(), -torch.inf)


def reference_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bands: Bands,
    inv_freq: Sequence[float],
    *,
    scaling: float | None = None,
    interleaved: bool = False,
    start: int = 0,
    score_scale: PositionMap | None = None,
) -> Tensor:
    """The softmax of `reference_scores` over the values: (batch, heads, n queries, value_dim), float64."""
    options: dict[str, Any] = {"scaling": scaling, "interleaved": interleaved, "start": start}
    scores = reference_scores(query, key, bands, inv_freq, score_scale=score_scale, **options)
    values = value.double().repeat_interleave(query.shape[1] // value.shape[1], dim=1)
    return scores.softmax(-1) @ values
