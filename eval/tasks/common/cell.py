"""One question's coordinates, which alone seed everything random in it."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product


@dataclass(frozen=True)
class Cell:
    """Where a question stands in the grid of a task.

    Attributes:
        task: its name without `_mc`: both ways of asking share their prompts.
        length: tokens, prompt and the answer's room together.
        depth: 0 puts what is asked for at the beginning, 1 at the end; None where a task has no such place.
        index: tells samples of the same length and depth apart.
        seed: the run's.
    """

    task: str
    length: int
    depth: float | None
    index: int
    seed: int

    def rng(self, purpose: str = "") -> random.Random:
        """Return the generator of this cell alone; another `purpose` gives an independent one."""
        depth = None if self.depth is None else float(self.depth)
        return random.Random(f"{self.task} {self.length} {depth!r} {self.index} {self.seed} {purpose}")


def cells(
    task: str, lengths: Sequence[int], depths: Sequence[float] | None, samples: int, seed: int, first: int = 0
) -> Iterator[Cell]:
    """Yield the grid with lengths by turns, so that lm-eval's `--limit` takes as many of each, from a sample on."""
    places: Sequence[float | None] = depths or [None]
    for index, depth, length in product(range(first, samples), places, lengths):
        yield Cell(task, length, depth, index, seed)
