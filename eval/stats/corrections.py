"""Many comparisons at once: the smallest of many p-values is small by luck."""

from __future__ import annotations

from collections.abc import Sequence


def holm(p_values: Sequence[float]) -> list[float]:
    """Return adjusted p-values, in the given order (Holm 1979, step-down Bonferroni).

    Calling those below 0.05 different is wrong about any of them in at most 5 of 100 runs, however the
    comparisons depend on each other.
    """
    if not all(0 <= p <= 1 for p in p_values):
        raise ValueError(f"p-values must be from 0 to 1, got {[p for p in p_values if not 0 <= p <= 1]}")
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = highest
    return adjusted
