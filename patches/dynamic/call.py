"""One forward of a model whose rows have scales of their own: which row of the grid each of them gets."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from rope_scaling.patches.dynamic.grid import LENGTHS
from rope_scaling.patches.dynamic.growth import grow_keys
from rope_scaling.patches.dynamic.held import begin, held_by, tokens_in
from rope_scaling.patches.dynamic.running import Plan, plans_for, running

NOWHERE = 2**62
"""A position after every other."""


class Call:
    """A forward under way; the first rotary module that runs in it settles the rows, the others get the same.

    Attributes:
        home: The module whose forward it is.
        count: Rows of its batch; None where its arguments do not tell.
        cache: Its KV cache.
        mask: Its attention mask, used where it has an entry for each token.
        plan: For how long its rows are planned.
        outer: The call that it was made in.
    """

    def __init__(
        self,
        home: nn.Module,
        count: int | None,
        cache: Any,
        mask: Any,
        plan: Plan | None = None,
        outer: Call | None = None,
    ) -> None:
        self.home, self.count, self.cache, self.mask = home, count, cache, mask
        self.plans, self.outer = plans_for(plan, home), outer
        self.rows: Tensor | None = None
        self.read: tuple[Tensor, Tensor, Tensor] | None = None

    def settle(self, lengths: Tensor, positions: Tensor) -> Tensor:
        """The rows of the grid, (rows,), for new tokens at `positions`, (axes, rows, tokens)."""
        if self.rows is None:
            read = None if self.cache is None else tokens_in(self.cache)
            last, first = span(positions, self.mask, read)
            planned = _planned(self.plans, lengths, positions.shape[1])
            if self.cache is None:
                rows = _fitting(lengths, last - first + 1, planned)
                self.read = rows, first, positions
            else:
                rows = self._settle_cached(lengths, positions, last, first, planned)
            self.rows = rows.clamp(min=0)
        return self.rows.to(lengths.device)

    def keep(self, cache: Any) -> None:
        """Let a cache that the forward has made itself remember what was read into it."""
        if self.read is not None:
            rows, first, positions = self.read
            held = begin(cache, positions, rows.device)
            held.rows, held.first, held.positions = rows, first, positions
            held.plan(self.plans)

    def _settle_cached(
        self, lengths: Tensor, positions: Tensor, last: Tensor, first: Tensor, planned: Tensor
    ) -> Tensor:
        held = held_by(self.cache, positions, lengths.device)
        first = torch.minimum(held.first, first)
        spare = sum([plan.spare for plan in self.plans])  # one plan has any, and torch.compile traces no max over none
        rows = _grown(lengths, held.rows, last - first + 1 - spare, planned, vars(self.home)[STRIDE])
        held.check(self.home, self.cache, rows, positions.shape[-1])
        grow_keys(self.home, self.cache, held, rows, positions.shape[-1])
        held.plan(self.plans)
        held.keep(rows, first, positions, self.cache)
        return rows


STRIDE = "_rope_scaling_stride"
"""Attribute of a home: by how many rows of the grid a scale grows at least."""


def rows_of(module: nn.Module, position_ids: Tensor) -> Tensor:
    """The row of the grid for each row of a batch, (rows,), in the forward of a rotary module.

    Args:
        module: The rotary module.
        position_ids: (rows or 1, tokens), or (axes, rows or 1, tokens).
    """
    lengths = module.get_buffer(LENGTHS)
    positions = (position_ids if position_ids.dim() == 3 else position_ids[None]).to(lengths.device)
    call = Call(module, None, None, None, running.plan) if running.call is None else running.call
    return call.settle(lengths, positions.expand(-1, call.count or positions.shape[1], -1))


def span(positions: Tensor, mask: Any, read: Any) -> tuple[Tensor, Tensor]:
    """The last and the first position of each row that are no padding, (rows,) each: -1 and `NOWHERE` for none."""
    last, first = positions.amax(0).long(), positions.amin(0).long()  # (rows, tokens)
    tokens = last.shape[-1]
    seen = _seen(mask)
    if seen is not None and seen.shape[0] == last.shape[0] and _covers(seen, tokens, read):
        real = _of_new_tokens(seen.to(last.device), tokens, 0 if read is None else read)
        last, first = last.masked_fill(~real, -1), first.masked_fill(~real, NOWHERE)
    return last.amax(-1), first.amin(-1)


def _seen(mask: Any) -> Tensor | None:
    """Which slots any token sees, (rows, slots), of the masks that Transformers takes or makes; None of others."""
    if isinstance(mask, dict):  # one for each layer type
        mask = mask.get("full_attention", next(iter(mask.values()), None))
    if not isinstance(mask, Tensor) or mask.dim() not in (2, 4):
        return None
    if mask.dim() == 2:
        return mask != 0
    visible = mask if mask.dtype == torch.bool else mask == 0  # (rows, heads, tokens, slots)
    return visible.any(1).any(1)


def _covers(seen: Tensor, tokens: int, read: Any) -> bool:
    """Whether a mask is about these tokens: an encoder's may be about samples of sound."""
    return seen.shape[1] == tokens if read is None else seen.shape[1] >= tokens


def _of_new_tokens(mask: Tensor, tokens: int, read: Any) -> Tensor:
    """The columns of a mask, (rows, slots), for the tokens after those that a cache has read.

    Of a static cache the mask may be as wide as the cache.
    """
    if isinstance(read, Tensor):
        columns = read.to(mask.device) + torch.arange(tokens, device=mask.device)
        return mask.index_select(1, columns.clamp(max=mask.shape[1] - 1))
    start = read if mask.shape[1] >= read + tokens else mask.shape[1] - tokens
    return mask[:, start : start + tokens]


def _planned(plans: list[Plan], lengths: Tensor, count: int) -> Tensor:
    """The row of the grid that was planned for each row, (rows,); -1 without a plan."""
    planned = torch.full((count,), -1, dtype=torch.int64, device=lengths.device)
    for plan in plans:
        asked = plan.lengths.to(lengths.device).reshape(-1)
        if count % asked.shape[0]:
            raise ValueError(
                f"rope_length was given for {asked.shape[0]} rows, and this batch has {count}: give one length, or "
                "one for each row"
            )
        each = _row(lengths, asked).repeat_interleave(count // asked.shape[0], output_size=count)
        planned = torch.maximum(planned, each)
    return planned


def _row(lengths: Tensor, tokens: Tensor) -> Tensor:
    """The first row of the grid whose length is at least `tokens`; the last one where none is."""
    return torch.bucketize(tokens, lengths).clamp(max=lengths.shape[0] - 1)


def _fitting(lengths: Tensor, tokens: Tensor, planned: Tensor) -> Tensor:
    """The rows for sequences that begin now; -1 for those of padding only, which have not begun."""
    return torch.maximum(torch.where(tokens > 0, _row(lengths, tokens), -1), planned)


def _grown(lengths: Tensor, rows: Tensor, tokens: Tensor, planned: Tensor, stride: int) -> Tensor:
    """The rows for sequences some of which have begun: no less than they had, and more in steps of `stride`."""
    fitting = torch.where(tokens > 0, _row(lengths, tokens), -1)
    settled = torch.maximum(rows, planned)
    ahead = torch.maximum(fitting, rows + stride).clamp(max=lengths.shape[0] - 1)
    grown = torch.where(fitting > settled, ahead, settled)
    return torch.where(rows < 0, torch.maximum(fitting, planned), grown)
