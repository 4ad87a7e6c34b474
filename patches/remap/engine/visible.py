"""Which keys a query may see where that is more than causality: padding, packed texts, masks of the user's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

Mask: TypeAlias = Tensor | Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""(batch or 1, heads or 1, queries, keys), bool, True where seen; or a function of the numbers of row, head, query slot
and key slot that broadcast (Transformers' mask functions), with causality in it."""


@dataclass(frozen=True)
class Visible:
    """Whom a query sees, and where tokens stand in their own sequence.

    Attributes:
        mask: See `Mask`.
        query_index: (batch or 1, queries), int64: the index of each query in its own sequence; anything for padding.
        key_index: (batch or 1, keys), int64.
        causal: Whether no query sees a key in a later slot, whatever `mask` says besides: half the work.
    """

    mask: Mask
    query_index: Tensor
    key_index: Tensor
    causal: bool = False

    def seen(self, rows: int, heads: int, first: int, last: int, keys: int) -> Tensor:
        """What the mask says about the queries first <= n < last and the first keys, broadcasting to all of them."""
        behind = self.key_index.shape[1] - self.query_index.shape[1]
        if isinstance(self.mask, Tensor):
            return self.mask[:, :, first:last, :keys]
        device = self.key_index.device
        row = torch.arange(rows, device=device)[:, None, None, None]
        head = torch.arange(heads, device=device)[:, None, None]
        slots = torch.arange(first + behind, last + behind, device=device)
        return self.mask(row, head, slots[:, None], torch.arange(keys, device=device))
