"""Blocks of tokens by position: what a range of positions, or each point of a curve, is a mean of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from rope_scaling.eval.report.record import Record, Row
from rope_scaling.eval.stats import Interval, PairedDifference, block_interval, paired_blocks
from rope_scaling.eval.verdict import LEAST_BLOCKS

_MOST_POINTS = 40
"""On a curve: more cannot be told apart."""


@dataclass(frozen=True)
class Point:
    """The mean over the tokens at positions `start` to `stop - 1` of all texts; no ends where blocks are too few."""

    start: int
    stop: int
    mean: float
    low: float | None
    high: float | None


def within(record: Record, row: Row, start: int, stop: int) -> Tensor:
    """Return the blocks that lie wholly at positions `start` to `stop - 1`, (texts, blocks)."""
    return _blocks(row)[:, -(-start // record.block) : stop // record.block]


def interval(blocks: Tensor) -> Interval | None:
    """Return the mean of blocks with its 95 % interval; None where they are too few."""
    return block_interval(blocks) if blocks.numel() >= LEAST_BLOCKS else None


def difference(record: Record, first: Row, second: Row, start: int, stop: int) -> PairedDifference | None:
    """Return nats per token of one row minus another's over the same tokens; None where they are too few."""
    blocks = within(record, first, start, stop)
    if blocks.numel() < LEAST_BLOCKS:
        return None
    return paired_blocks(blocks, within(record, second, start, stop))


def curve(record: Record, row: Row, minus: Row | None = None) -> tuple[Point, ...]:
    """Return nats per token by position, or their difference from another row; no point lies on both sides of L."""
    blocks = _blocks(row) if minus is None else _blocks(row) - _blocks(minus)
    texts, count = blocks.shape
    return tuple(
        _point(blocks[:, first:last], first * record.block, last * record.block)
        for first, last in _groups(texts, count, min(record.length // record.block, count))
    )


def _point(blocks: Tensor, start: int, stop: int) -> Point:
    ends = interval(blocks)
    mean = float(blocks.mean().item())
    return Point(start, stop, mean, *((ends.low, ends.high) if ends else (None, None)))


def _groups(texts: int, count: int, cut: int) -> Iterator[tuple[int, int]]:
    """Yield first and last block, excluded, of each point: even steps on either side of `cut`."""
    size = max(-(-2 * LEAST_BLOCKS // texts), -(-count // _MOST_POINTS))
    for start, stop in ((0, cut), (cut, count)):
        firsts = list(range(start, stop, size))
        if len(firsts) > 1 and (stop - firsts[-1]) * texts < LEAST_BLOCKS:  # too short a rest joins its neighbour
            firsts.pop()
        yield from pairwise([*firsts, stop])


def _blocks(row: Row) -> Tensor:
    return torch.tensor(row.block_nll, dtype=torch.float64)  # (texts, blocks)
