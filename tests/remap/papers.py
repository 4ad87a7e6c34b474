"""Relative positions as the papers and their authors' code spell them, pair by pair in loops; they know no bands."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

Rule = Callable[[int, int], float]
"""The relative position at which query i sees key j."""


def matrix(rule: Rule, n: int) -> list[list[float]]:
    """Rows of queries, columns of keys; NaN where the key follows the query."""
    return [[float(rule(i, j)) if j <= i else math.nan for j in range(n)] for i in range(n)]


def from_query(start: int, rule: Rule) -> Rule:
    """True distances for queries before `start`, the rule from there on."""
    return lambda i, j: i - j if i < start else rule(i, j)


def self_extend(window: int, group: int) -> Rule:
    """arXiv 2401.01325v3: grouped positions shifted by w - w // G, merged with the neighbours' own."""

    def rule(i: int, j: int) -> float:
        if i - j < window:
            return i - j
        grouped_query = i // group + (window - window // group)
        grouped_key = j // group
        return grouped_query - grouped_key

    return rule


def rerope(window: int) -> Rule:
    """kexue.fm/archives/9708: 0, 1, ..., w - 1, w, w, w, ..."""
    return lambda i, j: min(i - j, window)


def leaky_rerope(window: int, k: float) -> Rule:
    """kexue.fm/archives/9708: 0, 1, ..., w - 1, w, w + 1/k, w + 2/k, ..."""

    def rule(i: int, j: int) -> float:
        beyond = i - j - window
        return i - j if beyond < 0 else window + beyond / k

    return rule


def dca(chunk: int, length: int) -> Rule:
    """arXiv 2402.17463v2: lists of position ids for keys and three kinds of queries."""
    local = length - chunk
    keys = intra = list(range(chunk))
    successive = [chunk + t if t < local else length - 1 for t in range(chunk)]

    def rule(i: int, j: int) -> float:
        key = keys[j % chunk]
        between = i // chunk - j // chunk
        if between == 0:
            return intra[i % chunk] - key
        if between == 1:
            return successive[i % chunk] - key
        return (length - 1) - key

    return rule


def string(shift: int, window: int) -> Rule:
    """arXiv 2410.18745v1: the diagonals from S on are those from 0 on, moved up by W."""
    return lambda i, j: i - j if i - j < shift else i - j - shift + window


def lampe(head: int, tail: int, mapped: int, n: int) -> Rule:
    """github.com/scar-on/LaMPE, llama_cache1.py, `map_ids` and `forward`, at a prompt of n tokens.

    Pairs at distance `head`, and those at the far end's first diagonal, fall into two of its three calls of flash
    attention; here they belong to the farther one.
    """
    ids = [math.floor(mapped * p / (n - 1)) for p in range(n)]
    far = tail
    while far + 1 < n and ids[far] == ids[far + 1]:
        far += 1
    bias = head - (ids[head] + 1)
    far_bias = (n - 1 - far) - ids[n - 1 - far] - bias

    def rule(i: int, j: int) -> float:
        if i - j < head:
            return i - j
        if i - j < n - far:
            return (ids[i] + bias) - ids[j]
        return (i - far_bias) - j

    return rule


def by_steps(steps: Sequence[tuple[int, Rule]]) -> Rule:
    """Each query by the last rule whose first query it has reached."""
    return lambda i, j: next(rule for first, rule in reversed(steps) if i >= first)(i, j)
