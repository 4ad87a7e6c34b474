"""Requests that are longer than the model: refused, or allowed, counted and told."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

_tallies: ContextVar[list[Counter[str]] | None] = ContextVar("tallies", default=None)


class TruncationWarning(UserWarning):
    """A request was longer than the model's length and lost its beginning."""


class TruncationError(ValueError):
    """A request is longer than the model's length, and nobody said that it may lose its beginning."""


class Truncation:
    """Counts requests that are too long.

    Args:
        allowed: go on without their beginning, as lm-eval does silently.

    Attributes:
        counts: how many requests of each type lost their beginning.
    """

    def __init__(self, allowed: bool) -> None:
        if not isinstance(allowed, bool):
            raise ValueError(f"allow_truncation must be true or false, got {allowed!r}")
        self.allowed = allowed
        self.counts: Counter[str] = Counter()
        if (tallies := _tallies.get()) is not None:
            tallies.append(self.counts)

    def check(self, kind: str, needed: Sequence[int], length: int) -> None:
        """Count those of `needed` tokens that are over `length`, and warn.

        Raises:
            TruncationError: There are such, and they are not allowed.
        """
        over = [tokens for tokens in needed if tokens > length]
        if not over:
            return
        told = (
            f"{len(over)} of {len(needed)} {kind} requests are longer than the model's {length} tokens "
            f"(up to {max(over)})"
        )
        if not self.allowed:
            raise TruncationError(
                f"{told} and would lose their beginning: raise factor or max_length, ask for shorter texts, or "
                "accept it with allow_truncation=true among the model's arguments (--allow-truncation)"
            )
        self.counts[kind] += len(over)
        warnings.warn(
            f"{told} and lose their beginning: raise factor or max_length, or ask for shorter texts",
            TruncationWarning,
            stacklevel=3,
        )


@contextmanager
def truncation_tallies() -> Iterator[list[Counter[str]]]:
    """Collects the counts of every `Truncation` made inside, also where lm-eval makes and drops the model."""
    tallies: list[Counter[str]] = []
    token = _tallies.set(tallies)
    try:
        yield tallies
    finally:
        _tallies.reset(token)
