"""How many rows go side by side through a forward pass: as many as were asked for and as the cache may hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from rope_scaling.eval.engine.reader import Reader
from rope_scaling.eval.engine.rows import Row

AUTO_TOKENS = {"cpu": 2048, "gpu": 16384}
"""Tokens of a batch whose size nobody set."""


@dataclass(frozen=True)
class BatchRule:
    """How many rows somebody wants side by side.

    Attributes:
        rows: at most so many; None for as many as make `AUTO_TOKENS`.
        most: rows at most where `rows` is None.
    """

    rows: int | None
    most: int = 64

    def fitting(self, length: int, device: torch.device) -> int:
        """How many texts of `length` tokens, one at least."""
        auto = AUTO_TOKENS["cpu" if device.type == "cpu" else "gpu"] // length
        return max(min(auto, self.most), 1) if self.rows is None else self.rows


@dataclass(frozen=True)
class Batches:
    """How rows are cut into batches.

    Attributes:
        rule: the size that is asked for.
        device: where they are read.
        cached_tokens: tokens that the cache may hold, of all rows together; None without a bound.
        alike: put only rows of the same length side by side where they are continued.
    """

    rule: BatchRule
    device: torch.device
    cached_tokens: int | None = None
    alike: bool = False

    def of(self, rows: Sequence[Row], prefix: int) -> Iterator[list[Row]]:
        """Cut rows, longest first, into batches that go on from a prefix of `prefix` tokens."""
        start = 0
        while start < len(rows):
            first = rows[start]
            batch = rows[start : start + self._fitting(prefix, first.length)]
            if self.alike and first.steps > 1:
                batch = [row for row in batch if len(row.ids) == len(first.ids)]  # they stand together: rows are sorted
            yield list(batch)
            start += len(batch)

    def _fitting(self, prefix: int, length: int) -> int:
        count = self.rule.fitting(length, self.device)
        if self.cached_tokens is not None:
            count = min(count, (self.cached_tokens - prefix) // length)  # the prefix's own cache stays beside them
        return max(count, 1)


def pass_cost(reader: Reader) -> float:
    """Tokens that could be read in the time that a forward pass takes beside reading them.

    An estimate from orders of magnitude, so that it is the same in every run: launching kernels takes some 10 ms,
    reading weights their bytes over the memory's bandwidth, and a token two operations a parameter.
    """
    device = reader.device.type
    launch, bandwidth, operations = (0.005, 2e10, 1e11) if device == "cpu" else (0.015, 2e12, 3e14)
    seconds: float = launch + 4 * reader.parameters / bandwidth
    return seconds * operations / (2 * reader.parameters)
