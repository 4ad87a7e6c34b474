"""The engine: rows in, batches of one scale and one prefix out, read as far as the model's cache allows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from rope_scaling.eval.engine.abilities import Abilities, abilities_of
from rope_scaling.eval.engine.lengths import by_scale, frozen_length, scaled_lengths
from rope_scaling.eval.engine.prefixes import families
from rope_scaling.eval.engine.reader import Reader, Work
from rope_scaling.eval.engine.rows import Row
from rope_scaling.eval.engine.schedule import Batches, BatchRule, pass_cost
from rope_scaling.eval.engine.trunk import Trunk

Use = Callable[[Trunk, list[Row]], None]


@dataclass(frozen=True)
class EngineOptions:
    """How much is read and held at a time.

    Attributes:
        chunk: tokens of a text that one forward pass reads at most.
        cache_gb: billions of bytes that keys and values may take; None for as much as batches of the size asked for
            take.
    """

    chunk: int = 512
    cache_gb: float | None = None

    def __post_init__(self) -> None:
        if isinstance(self.chunk, bool) or not isinstance(self.chunk, int) or self.chunk < 1:
            raise ValueError(f"chunk must be a number of tokens from 1 on, got {self.chunk!r}")
        held = self.cache_gb
        if held is not None and (isinstance(held, bool) or not isinstance(held, (int, float)) or held <= 0):
            raise ValueError(f"cache_gb must be a positive number of gigabytes, got {held!r}")


class Engine:
    """Reads many rows, each shared prefix once."""

    def __init__(
        self, model: Any, device: torch.device, options: EngineOptions, autocast: torch.dtype | None = None
    ) -> None:
        self.reader = Reader(model, device, options.chunk, autocast)
        self.cache_gb = options.cache_gb
        self.pass_cost = pass_cost(self.reader)
        self.work_elsewhere: Sequence[Work] = ()  # of other processes, when they last told

    @cached_property
    def abilities(self) -> Abilities:
        """What the model's cache allows, found out when first asked."""
        found = abilities_of(self.reader)
        self.reader.work = Work()  # trying is no work on requests
        return found

    def run(self, rows: Sequence[Row], rule: BatchRule, use: Use) -> None:
        """Hand `use` every batch of rows with the trunk that it goes on from, the model frozen at their scale.

        Raises:
            ValueError: One row alone takes more than `cache_gb`; nothing has been read.
        """
        # padding between prefix and rest would move positions that the model counts itself, and lengthen a plan
        alike = not self.reader.takes_positions or bool(scaled_lengths(self.reader.model))
        batches = Batches(rule, self.reader.device, self._cached_tokens(rows), alike)
        for length, group in by_scale(self.reader.model, rows, lambda row: row.length):
            with frozen_length(self.reader.model, length):
                trunk = Trunk(self.reader)
                for family in families(group, rule.rows or rule.most, self._cost_of_sharing()):
                    trunk.move_to(family.prefix, max(row.length for row in family.rows))
                    for batch in batches.of(family.rows, len(family.prefix)):
                        use(trunk, batch)

    def told(self) -> dict[str, Any]:
        """What it did and how, as JSON can hold it; with what other processes did."""
        works = [self.reader.work, *self.work_elsewhere]
        return {
            "chunked": self.abilities.chunks,
            "shares_prefixes": self.abilities.sharing,
            "why_not": self.abilities.why_not,
            "chunk": self.reader.chunk,
            "cache_gb": self.cache_gb,
            "tokens_read": sum(work.tokens for work in works),
            "forward_passes": sum(work.passes for work in works),
        }

    def _cost_of_sharing(self) -> float:
        return self.pass_cost if self.abilities.sharing else float("inf")

    def _cached_tokens(self, rows: Sequence[Row]) -> int | None:
        if self.cache_gb is None or not rows:
            return None
        allowed = int(self.cache_gb * 1e9 / self.abilities.bytes_per_token)
        longest = max(row.length for row in rows)
        if longest > allowed:
            needed = longest * self.abilities.bytes_per_token / 1e9
            raise ValueError(
                f"a request of {longest} tokens takes {needed:.2f} GB of keys and values, cache_gb allows "
                f"{self.cache_gb:g}: raise cache_gb, or ask for shorter texts"
            )
        return allowed
