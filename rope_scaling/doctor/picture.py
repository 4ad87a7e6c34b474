"""A small picture of wavelengths against the trained length, in one line of characters a terminal has."""

from __future__ import annotations

import itertools
import math

from rope_scaling.rope import Rope

BLOCKS = "▁▂▃▄▅▆▇█"
DOTS = ".:-=+*#@"
WIDEST = 64


def bars(rope: Rope, width: int = WIDEST, marks: str = BLOCKS) -> tuple[str, str, str]:
    """(bars, marks below, what they say): a column for each pair, or for several where they do not fit.

    Heights are the logarithm of the wavelength from 1 token to the longest. Below a column stands `|` where its pairs
    turn at least once within L, and `o` where they never did a whole turn: they see new angles when texts get longer.
    """
    pairs = [w for w in rope.wavelengths if math.isfinite(w)]
    if not pairs:
        return "", "", "no pair turns"
    columns = min(len(pairs), max(1, min(width, WIDEST)))
    edges = [round(i * len(pairs) / columns) for i in range(columns + 1)]
    groups = [pairs[a:b] for a, b in itertools.pairwise(edges)]
    top = math.log(max(max(pairs), math.e))
    drawn = "".join(marks[_level(math.log(max(max(group), 1.0)) / top, len(marks))] for group in groups)
    length = rope.original_max_position_embeddings
    below = "".join("o" if max(group) > length else "|" for group in groups)
    slow = sum(wavelength > length for wavelength in pairs)
    told = f"| {len(pairs) - slow} pairs turn at least once within {length} tokens, o {slow} never do"
    return drawn, below, told


def _level(share: float, levels: int) -> int:
    return min(levels - 1, max(0, int(share * levels)))
