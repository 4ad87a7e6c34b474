"""Which prefixes of many texts are worth reading once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from rope_scaling.eval.engine.rows import Row, Tokens

LEAST = 16
"""Tokens: a shorter common beginning is not worth a cache of its own."""


@dataclass
class Family:
    """Rows that begin with the same `prefix`, which is read once for all of them."""

    prefix: Tokens
    rows: list[Row]


def families(rows: Sequence[Row], batch_size: int, pass_cost: float) -> list[Family]:
    """Group rows by the prefix that they share, in an order in which one cache, cropped and extended, serves all.

    The common prefixes of sorted texts form a tree. It is walked from its root; a node becomes a prefix of its own
    where the tokens that its rows need not read outweigh the forward passes that it costs.

    Args:
        rows: what to read.
        batch_size: rows that would be read side by side.
        pass_cost: tokens that could be read in the time that a forward pass takes beside them.

    Returns:
        In lexicographic order of their prefixes; the rows of each from the longest to the shortest.
    """
    ordered = sorted(rows, key=lambda row: row.ids)
    shared = _prefix_lengths(ordered, batch_size, pass_cost)
    groups: dict[tuple[int, ...], list[Row]] = {}
    for row, length in zip(ordered, shared, strict=True):
        groups.setdefault(tuple(row.ids[:length]), []).append(row)
    found = [Family(list(prefix), sorted(group, key=_longest_first)) for prefix, group in groups.items()]
    return sorted(found, key=lambda family: family.prefix)


def common_prefix(one: Tokens, other: Tokens) -> int:
    """How many tokens two texts begin with in common."""
    length = min(len(one), len(other))
    if one[:length] == other[:length]:
        return length
    return int(np.argmax(np.asarray(one[:length]) != np.asarray(other[:length])))


def _longest_first(row: Row) -> tuple[int, Tokens]:
    return -len(row.ids), row.ids


def _prefix_lengths(ordered: list[Row], batch_size: int, pass_cost: float) -> list[int]:
    """The length of each row's shared prefix, 0 where sharing does not pay."""
    common = np.array([0, *(common_prefix(a.ids, b.ids) for a, b in pairwise(ordered))])
    free = np.array([row.free for row in ordered])
    lengths = [0] * len(ordered)
    nodes = [(0, len(ordered), 0)]  # rows from, to; length of the prefix above
    while nodes:
        start, stop, above = nodes.pop()
        if stop - start < 2:
            lengths[start:stop] = [above] * (stop - start)
            continue
        inside = common[start + 1 : stop]  # of each row with the one before it
        end = int(min(inside.min(), free[start:stop].min()))
        if _pays(stop - start, end - above, ordered[start].steps, batch_size, pass_cost):
            above = end
        cuts = [start, *(start + 1 + np.flatnonzero(inside == inside.min())).tolist(), stop]
        nodes.extend((low, high, above) for low, high in pairwise(cuts))
    return lengths


def _pays(rows: int, tokens: int, steps: int, batch_size: int, pass_cost: float) -> bool:
    """Whether `rows` rows should read their `tokens` common tokens once.

    It takes a forward pass for them, and leaves a batch that is less full: these rows are not read with others.
    """
    passes = 1 + steps * (-(-rows // batch_size) - rows / batch_size)
    return tokens >= LEAST and (rows - 1) * tokens > passes * pass_cost
