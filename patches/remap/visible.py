"""What Transformers' masks say about who sees whom, of whatever kind they are."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask

from rope_scaling.patches.remap.call import Call
from rope_scaling.patches.remap.engine import Visible
from rope_scaling.patches.remap.engine.visible import Mask


def visible_keys(
    call: Call, mask: Any, queries: int, slots: int, window: int | None, device: torch.device
) -> Visible | None:
    """Who sees whom among the last `queries` of `slots` tokens; None for plain causality from the first slot on.

    Args:
        call: The forward under way.
        mask: As the attention function is given it: None, (rows, slots), (rows, heads or 1, queries, slots), or a
            `BlockMask`.
        queries: New tokens.
        slots: Keys, the new ones among them.
        window: Tokens that a query sees at most, where the mask does not say so itself.
        device: Where attention is computed.

    Raises:
        ValueError: The mask holds numbers that are neither "seen" nor "not seen".
    """
    for known, of_slots, made in call.masks:
        if known is mask and of_slots == (slots, window, device):
            return made
    visible = None
    if not (mask is None and window is None and call.plain):
        causal = (mask is None or len(mask.shape) == 2) and not call.static
        read = _read(mask, queries, slots, window)
        visible = Visible(read, *call.index(slots, device), causal=causal)
    call.masks.append((mask, (slots, window, device), visible))
    return visible


def _read(mask: Any, queries: int, slots: int, window: int | None) -> Mask:
    if isinstance(mask, BlockMask):
        return _shifted(mask, slots - queries)
    if mask is None or mask.dim() == 2:
        return _causal(mask, window, slots)
    if mask.dim() != 4:
        raise ValueError(f"attention_mask must have 2 or 4 dimensions, got {tuple(mask.shape)}")
    mask = mask[..., :slots]
    return mask if mask.dtype == torch.bool else _seen(mask)


def _shifted(mask: BlockMask, behind: int) -> Mask:
    return lambda row, head, i, j: mask.mask_mod(row, head, i - behind, j)


def _causal(padding: Tensor | None, window: int | None, slots: int) -> Mask:
    """Causality, and what flash attention is told beside it."""
    real = None if padding is None else padding[:, -slots:].bool()

    def seen(row: Tensor, head: Tensor, i: Tensor, j: Tensor) -> Tensor:
        held = j <= i
        if window is not None:
            held = held & (i - j < window)
        return held if real is None else held & real[row, j]

    return seen


def _seen(mask: Tensor) -> Tensor:
    """Of a mask that is added to scores, where it adds nothing; elsewhere it must rule out.

    Numbers in between would be a bias, which turned keys know nothing of.
    """
    seen = mask == 0
    if not torch.compiler.is_compiling() and not mask.is_meta:
        ruled_out = mask < torch.finfo(mask.dtype).min / 4
        if not bool((seen | ruled_out).all()):
            raise ValueError(
                "attention_mask adds a bias to the scores, which attention at remapped positions does not take: give a "
                "mask of bool, or one of 0 and -inf"
            )
    return seen
