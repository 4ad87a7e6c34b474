"""The general way: whole rows of scores for a few queries at a time, in plain PyTorch, for any mask on any device."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from rope_scaling.patches.remap.engine.pairs import RotatedPairs, turn_by, turned
from rope_scaling.patches.remap.engine.scores import by_group, softmax
from rope_scaling.patches.remap.engine.visible import Visible
from rope_scaling.remap import IDENTITY, Bands, PositionMap

_SCORES = 2**24
"""Scores held at once: 64 MiB in float32."""


def attend_by_rows(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bands: Bands,
    pairs: RotatedPairs,
    scale: float,
    visible: Visible | None,
    softcap: float | None,
    sinks: Tensor | None,
) -> Tensor:
    """See `attend`. Memory is linear in the number of keys, in training too: rows are computed again backward."""
    visible = visible or _causal(query, key)
    dtype, wide = query.dtype, torch.promote_types(query.dtype, torch.float32)
    query, key, value = query.to(wide) * scale, key.to(wide), value.to(wide)
    places = dict.fromkeys(band.keys for band in bands if not band.plain)
    keys = {IDENTITY: key} | {place: _placed(key, visible.key_index, place, pairs) for place in places}
    behind = key.shape[2] - query.shape[2]

    def some(first: int, last: int) -> Tensor:
        seen = behind + last if visible.causal else key.shape[2]
        where = visible.query_index[:, first:last]
        held = {place: one[:, :, :seen] for place, one in keys.items()}
        scores = _scores(query[:, :, first:last], held, where, visible.key_index[:, :seen], bands, pairs)
        if softcap is not None:
            scores = softcap * (scores / softcap).tanh()
        allowed = visible.seen(query.shape[0], query.shape[1], first, last, seen)
        scores = scores.masked_fill(~allowed, -torch.inf)
        return by_group(softmax(scores, sinks), value[:, :, :seen])

    size = max(1, _SCORES // (query.shape[0] * query.shape[1] * key.shape[2]))
    ends = [*range(size, query.shape[2], size), query.shape[2]]
    out = [_recomputed(some, first, last) for first, last in zip([0, *ends[:-1]], ends, strict=True)]
    return torch.cat(out, dim=2).transpose(1, 2).to(dtype).contiguous()


def _causal(query: Tensor, key: Tensor) -> Visible:
    index = torch.arange(key.shape[2], device=key.device)[None]
    return Visible(lambda row, head, i, j: j <= i, index[:, key.shape[2] - query.shape[2] :], index, causal=True)


def _placed(vectors: Tensor, index: Tensor, place: PositionMap, pairs: RotatedPairs) -> Tensor:
    """Vectors, (batch, heads, tokens, dims), rotated at `index`, (batch or 1, tokens), put where a map says."""
    if place == IDENTITY:
        return vectors
    return turned(vectors, turn_by((place(index) - index)[:, None], pairs, vectors.dtype), pairs)


def _scores(
    query: Tensor, keys: Mapping[PositionMap, Tensor], i: Tensor, j: Tensor, bands: Bands, pairs: RotatedPairs
) -> Tensor:
    """(batch, heads, queries, keys); keys later than a query, which only a mask of one's own shows, where they are."""
    scores = by_group(query, keys[IDENTITY].mT)
    for band in bands:
        if not band.plain:
            other = by_group(_placed(query, i, band.queries, pairs), keys[band.keys].mT)
            holds = band.region.holds(i[:, :, None], j[:, None, :])
            scores = torch.where(holds[:, None], other, scores)
    return scores


def _recomputed(some: Callable[[int, int], Tensor], first: int, last: int) -> Tensor:
    """`some(first, last)`, computed once more in a backward pass rather than remembered."""
    if not torch.is_grad_enabled():
        return some(first, last)
    out: Tensor = checkpoint(some, first, last, use_reentrant=False, preserve_rng_state=False)  # no randomness inside
    return out
