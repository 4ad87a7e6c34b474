"""Attention of many queries at remapped positions."""

from __future__ import annotations

import torch
from torch import Tensor

from rope_scaling.patches.remap.engine.operator import attend_by_tiles
from rope_scaling.patches.remap.engine.pairs import RotatedPairs
from rope_scaling.patches.remap.engine.rows import attend_by_rows
from rope_scaling.patches.remap.engine.sequences import attend_sequences, sequences_of
from rope_scaling.patches.remap.engine.visible import Visible
from rope_scaling.remap import Bands


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bands: Bands,
    pairs: RotatedPairs,
    *,
    scaling: float | None = None,
    visible: Visible | None = None,
    softcap: float | None = None,
    sinks: Tensor | None = None,
) -> Tensor:
    """Attention in which query i sees key j at the relative position that `bands` say.

    Args:
        query: (batch, heads, queries, dims), rotated at their own indices; the last slots of `key`.
        key: (batch, key heads, keys, dims), rotated at their own indices.
        value: (batch, key heads, keys, value dims).
        bands: Of a remap scheme.
        pairs: Which dimensions turn, and how fast.
        scaling: Multiplies the scores; 1 / √dims unless given.
        visible: Who sees whom; None is plain causality, a token's index its slot.
        softcap: Scores s become softcap · tanh(s / softcap).
        sinks: (heads,), a score for each head that takes part in its softmax and carries no value.

    Returns:
        (batch, queries, heads, value dims), as attention functions of Transformers do.
    """
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    device = query.device.type
    if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):  # as with PyTorch's own
        dtype = torch.get_autocast_dtype(device)
        query, key, value = query.to(dtype), key.to(dtype), value.to(dtype)

    def causal(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        if softcap is not None:  # no kernel has it
            return attend_by_rows(query, key, value, bands, pairs, scale, None, softcap, sinks)
        return attend_by_tiles(query, key, value, bands, pairs, scale, sinks)

    if visible is None:
        return causal(query, key, value)
    sequences = sequences_of(visible, query.shape[0], query.shape[1])
    if sequences is None:
        return attend_by_rows(query, key, value, bands, pairs, scale, visible, softcap, sinks)
    return attend_sequences(query, key, value, sequences, causal)
