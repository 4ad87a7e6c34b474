"""Padded and packed rows as what they are: several texts side by side, each with plain causal attention of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from rope_scaling.patches.remap.engine.visible import Visible

_ROWS = 512
"""Queries whose mask is looked at at once."""
_FOUND = "_found"


@dataclass(frozen=True)
class Sequence:
    """Queries in slots first <= i < last, which see the keys in slots start <= j <= i; a token's index is i - start."""

    start: int
    first: int
    last: int


Sequences = tuple[tuple[Sequence, ...], ...]
"""Those of each row; a query in none of them sees nothing."""


def sequences_of(visible: Visible, rows: int, heads: int) -> Sequences | None:
    """What a mask and positions come to; None where they come to anything else, or cannot be looked at.

    Looking waits for the device, once for all layers that are handed the same `Visible`.
    """
    index = visible.key_index
    if torch.compiler.is_compiling() or type(index) is not Tensor or index.is_meta:
        return None
    if index.is_cuda and torch.cuda.is_current_stream_capturing():
        return None
    held = vars(visible)
    if _FOUND not in held:
        starts = _starts(visible, rows, heads)
        held[_FOUND] = None if starts is None else _sequences(visible, starts)
    found: Sequences | None = held[_FOUND]
    return found


def attend_sequences(
    query: Tensor, key: Tensor, value: Tensor, sequences: Sequences, attend: Callable[[Tensor, Tensor, Tensor], Tensor]
) -> Tensor:
    """(batch, queries, heads, value dims), zeros where a query is padding; `attend` does the plain causal part."""
    behind = key.shape[2] - query.shape[2]
    if len(set(sequences)) == 1:
        return _one_row(query, key, value, sequences[0], behind, attend)
    rows = zip(*(one.unsqueeze(1).unbind(0) for one in (query, key, value)), sequences, strict=True)
    return torch.cat([_one_row(q, k, v, own, behind, attend) for q, k, v, own in rows])


def _one_row(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    sequences: tuple[Sequence, ...],
    behind: int,
    attend: Callable[[Tensor, Tensor, Tensor], Tensor],
) -> Tensor:
    """Of rows whose sequences are the same."""
    empty = query.new_zeros((query.shape[0], 0, query.shape[1], value.shape[-1]))
    parts, done = [empty], behind
    for one in sequences:
        parts.append(empty.new_zeros((empty.shape[0], one.first - done, *empty.shape[2:])))
        seen = slice(one.start, one.last)
        parts.append(attend(query[:, :, one.first - behind : one.last - behind], key[:, :, seen], value[:, :, seen]))
        done = one.last
    parts.append(empty.new_zeros((empty.shape[0], key.shape[2] - done, *empty.shape[2:])))
    return torch.cat(parts, dim=1)


def _starts(visible: Visible, rows: int, heads: int) -> Tensor | None:
    """(batch, queries): the first slot that each query sees, -1 for none; None unless it sees all from there to it."""
    queries, keys = visible.query_index.shape[1], visible.key_index.shape[1]
    slots = torch.arange(keys, device=visible.key_index.device)
    found = []
    for first in range(0, queries, _ROWS):
        last = min(first + _ROWS, queries)
        seen = visible.seen(rows, heads, first, last, keys)
        seen = seen.expand(*(1,) * (4 - seen.dim()), *seen.shape)
        if seen.shape[1] > 1:
            return None
        seen = seen[:, 0].expand(rows, last - first, keys)
        some, start = seen.any(-1), seen.to(torch.uint8).argmax(-1)
        own = torch.arange(first, last, device=slots.device)[:, None] + (keys - queries)
        if not bool((seen == ((slots >= start[..., None]) & (slots <= own) & some[..., None])).all()):
            return None
        found.append(torch.where(some, start, -1))
    return torch.cat(found, dim=1)


def _sequences(visible: Visible, starts: Tensor) -> Sequences | None:
    """Queries with the same first slot, one after another; None where their indices are not those of such a text."""
    behind = visible.key_index.shape[1] - starts.shape[1]
    queries, keys = (one.expand(starts.shape[0], -1).cpu() for one in (visible.query_index, visible.key_index))
    found: list[list[Sequence]] = []
    for row, own in enumerate(starts.cpu()):
        found.append([])
        values, counts = own.unique_consecutive(return_counts=True)
        last = behind
        for start, count in zip(values.tolist(), counts.tolist(), strict=True):
            first, last = last, last + count
            if start < 0:
                continue
            counted = torch.arange(last - start)
            if not torch.equal(keys[row, start:last], counted):
                return None
            if not torch.equal(queries[row, first - behind : last - behind], counted[first - start :]):
                return None
            found[-1].append(Sequence(start, first, last))
    return tuple(tuple(own) for own in found)
