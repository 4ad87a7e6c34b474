"""What `benchmarks/quality.py` has measured, by checkpoint and factor, and what can be compared in it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch

from rope_scaling.eval.bins import short
from rope_scaling.eval.stats import PairedDifference, paired_blocks

Row = dict[str, Any]
Key = tuple[str, int, float]
"""A checkpoint, its trained length and the factor."""
Found = dict[tuple[str, str], Row]
"""Rows by scheme and measure."""

ORDER = (
    *("window", "none", "linear", "ntk", "yarn", "dynamic-yarn"),
    *("self-extend", "leaky-rerope", "rerope", "dca", "lampe", "string", "string over yarn"),
)


def studies_of(rows: Sequence[Row]) -> dict[Key, Found]:
    """Rows by checkpoint and factor, schemes in their usual order; the last of several about the same.

    Answers to questions of other lengths and depths are put together: each stands for itself.
    """
    studies: dict[Key, Found] = {}
    for row in sorted(rows, key=lambda row: rank(row["scheme"])):
        found = studies.setdefault((row["checkpoint"], row["length"], row["factor"]), {})
        what = row["scheme"], row["measure"]
        found[what] = row | {"answers": joined(found[what], row)} if what in found and "answers" in row else row
    return dict(sorted(studies.items(), key=lambda study: study[0][1:]))


def joined(earlier: Row, row: Row) -> list[list[float]]:
    """The answers of a row, and those of an earlier one at lengths and depths that this one has not asked."""
    asked = {(length, depth) for length, depth, _ in row["answers"]}
    return row["answers"] + [one for one in earlier.get("answers", []) if tuple(one[:2]) not in asked]


def rank(scheme: str) -> int:
    """Where a scheme stands in tables."""
    return ORDER.index(named(scheme)) if named(scheme) in ORDER else len(ORDER)


def named(scheme: str) -> str:
    """A scheme without the numbers that differ by factor: string:over="yarn:factor=2.5" is string over yarn."""
    return re.sub(r':over="?(\w+):factor=[^"]*"?', r" over \1", scheme)


def title_of(key: Key) -> str:
    checkpoint, length, factor = key
    return f"{checkpoint}, L = {short(length)}, factor {factor:g}"


def schemes_of(found: Found) -> list[str]:
    return list(dict.fromkeys(scheme for (scheme, _), row in found.items() if "refused" not in row))


def against(found: Found, scheme: str, other: str) -> PairedDifference | None:
    """The difference in nats per token past L, by pairs of blocks of 64 tokens; None where there is nothing to pair."""
    row, base = found.get((scheme, "perplexity"), {}), found.get((other, "perplexity"), {})
    if scheme == other or "blocks" not in row or "blocks" not in base:
        return None
    return paired_blocks(torch.tensor(row["blocks"]), torch.tensor(base["blocks"]))


def past(row: Row) -> dict[tuple[int, float, int], float]:
    """The scores of the questions that are longer than L, by length, depth and number."""
    numbers: Counter[tuple[int, float]] = Counter()
    scores: dict[tuple[int, float, int], float] = {}
    for length, depth, score in row.get("answers", []):
        numbers[length, depth] += 1
        if length > row["length"]:
            scores[length, depth, numbers[length, depth]] = score
    return scores
