"""Which process reads which texts, so that what texts have in common is still read once."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from rope_scaling.eval.engine.prefixes import common_prefix
from rope_scaling.eval.engine.rows import Tokens


def divide(texts: Sequence[Tokens], parts: int, steps: Sequence[int] | None = None) -> list[list[int]]:
    """The numbers of the texts that each of `parts` processes reads, each part about as much to read.

    Neighbours in lexicographic order stay together, and a text costs what it does not share with the one before it:
    many questions about one long text are work for one process.

    Args:
        texts: what is to be read.
        parts: how many processes there are.
        steps: tokens to generate after each text; none unless given.

    Returns:
        For each process, numbers in the order in which they were asked.
    """
    order = sorted(range(len(texts)), key=lambda number: texts[number])
    shared = [0, *(common_prefix(texts[one], texts[other]) for one, other in pairwise(order))]
    after = [0] * len(texts) if steps is None else steps
    costs = np.array([1 + len(texts[n]) - same + after[n] for n, same in zip(order, shared, strict=False)])
    middles = (np.cumsum(costs) - costs / 2) / max(costs.sum(), 1)
    owners = np.minimum((middles * parts).astype(int), parts - 1)
    found: list[list[int]] = [[] for _ in range(parts)]
    for number, owner in sorted(zip(order, owners.tolist(), strict=True)):
        found[owner].append(number)
    return found


def digest(texts: Sequence[Tokens]) -> str:
    """What tells these texts, in this order, from any others."""
    held = hashlib.sha256()
    for text in texts:
        held.update(np.array([len(text), *text], dtype=np.int64).tobytes())
    return held.hexdigest()
