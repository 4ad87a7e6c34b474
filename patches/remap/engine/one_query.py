"""One query: each key belongs to one band, so the keys are turned by the whole difference and attention is plain.

On a CPU a block of keys is scored as soon as it is turned, while it lies in the core's cache: to write all of them out
for PyTorch's SDPA, which is slow for one query, takes longer (docs/remap.md).
"""

from __future__ import annotations

import torch
from torch import Tensor

from rope_scaling.patches.remap.engine.pairs import (
    RotatedPairs,
    Turn,
    tokens_at_once,
    turn_by,
    turned,
    turned_in_blocks,
)
from rope_scaling.patches.remap.engine.scores import by_group, softmax
from rope_scaling.remap import Bands


def key_turn(query_index: Tensor, key_index: Tensor, bands: Bands, pairs: RotatedPairs) -> Turn:
    """The turn of the keys, (batch or 1, 1, keys, ...), that makes plain attention of one query the remapped one.

    A query i, rotated at i, sees a key at i - place; it shall be seen at queries(i) - keys(j). The turn is the same
    in every layer with the same frequencies: ask once and hand it to `keys_for_one_query`. Where the device need not be
    waited for, it ends with the last key that moves: those that are nearer stay.

    Args:
        query_index: (batch or 1, 1), int64, the query's index in its own sequence.
        key_index: (batch or 1, keys), int64.
        bands: Where the query shall see each key; one that is later than the query stays where it is.
        pairs: Which dimensions turn, and how fast.
    """
    offset = torch.zeros_like(key_index - query_index, dtype=torch.float64)
    for band in bands:
        if not band.plain:
            place = query_index - band.queries(query_index) + band.keys(key_index)
            offset = torch.where(band.region.holds(query_index, key_index), place - key_index, offset)
    return turn_by(offset[:, None, : _moving(offset)], pairs)


def keys_for_one_query(key: Tensor, turn: Turn, pairs: RotatedPairs) -> Tensor:
    """Keys, (batch, key heads, keys, dims), for plain attention of one query: any implementation, mask, softcap, sink.

    Args:
        key: Keys rotated at their own indices.
        turn: Of `key_turn`.
        pairs: Which dimensions turn.
    """
    differentiable = torch.is_grad_enabled() and key.requires_grad
    # a compiler writes its own loop
    whole = differentiable or torch.compiler.is_compiling()
    if not whole:
        return turned_in_blocks(key, turn.part, pairs, turn.tokens)
    if turn.tokens == key.shape[2]:
        return turned(key, turn, pairs)
    return torch.cat((turned(key[:, :, : turn.tokens], turn, pairs), key[:, :, turn.tokens :]), dim=2)


def attend_one_query(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    turn: Turn,
    pairs: RotatedPairs,
    *,
    scaling: float | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """Attention of one query to keys that `turn` turns, on a CPU and without a gradient; scores are float32 at least.

    Args:
        query: (batch, heads, 1, dims), rotated at its own index.
        key: (batch, key heads, keys, dims), likewise.
        value: (batch, key heads, keys, value dims).
        turn: Of `key_turn`.
        pairs: Which dimensions turn.
        scaling: Multiplies the scores; 1 / √dims unless given.
        mask: Broadcasts to (batch, heads, 1, keys): bool, true where a key is seen, or added to the scores.

    Returns:
        (batch, 1, heads, value dims), as attention functions of Transformers do.
    """
    wide = torch.promote_types(query.dtype, torch.float32)
    scaled = query.to(wide) * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    scores = _scores(scaled, key, turn, pairs)
    if mask is None:
        shares = scores.softmax(-1)
    else:
        shares = softmax(scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask)
    return by_group(shares.to(value.dtype), value).transpose(1, 2).contiguous()


def _scores(query: Tensor, key: Tensor, turn: Turn, pairs: RotatedPairs) -> Tensor:
    """(batch, heads, 1, keys)."""
    rows, key_heads, keys, dims = key.shape
    grouped = query.reshape(rows, key_heads, -1, dims)
    scores = query.new_empty(rows, key_heads, grouped.shape[2], keys)
    size = min(keys, tokens_at_once(key.device, rows * key_heads * dims))
    room = query.new_empty(rows, key_heads, size, dims)  # one for all blocks: a new one each costs page faults
    for first in range(0, keys, size):
        tokens = slice(first, min(first + size, keys))
        block = key[:, :, tokens]
        if first < turn.tokens:
            of_block = turn.part(tokens)
            block = turned_in_blocks(block, of_block.part, pairs, of_block.tokens, room[:, :, : block.shape[2]])
        scores[..., tokens] = grouped @ block.to(query.dtype).mT
    return scores.view(rows, -1, 1, keys)


def _moving(offset: Tensor) -> int:
    """All keys up to the last that moves in any row, (rows, keys); all where asking would take time."""
    if offset.device.type != "cpu" or torch.compiler.is_compiling():
        return offset.shape[1]
    moved = offset.any(0).nonzero()
    return int(moved[-1]) + 1 if len(moved) else 0
