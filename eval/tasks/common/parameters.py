"""The parameters that `--metadata` may set, and what is wrong with a wrong one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from rope_scaling.eval.bins import LONGEST

LENGTHS = (1024, 2048, 4096)
DEPTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
SAMPLES = 2

KNOWN = (
    *("lengths", "depths", "samples", "seed"),
    *("haystack", "needle", "text"),
    *("chains", "hops", "common"),
    *("stride", "window"),
    *("evaluator", "evaluator_scheme", "short", "alpha", "beta"),
)
"""Of all tasks: one run's metadata reach every task of it, and each takes its own."""


def check_grid(lengths: Sequence[int], depths: Sequence[float], samples: int, seed: int) -> None:
    """Raise ValueError for the first of the four that makes no grid."""
    if not _is_list(lengths, int) or min(lengths) < 1:
        raise ValueError(f"lengths must be a list of token counts such as [1024, 2048], got {lengths!r}")
    if max(lengths) > LONGEST:
        raise ValueError(
            f"lengths must be at most {LONGEST} tokens, more than any checkpoint is made for, got {lengths}"
        )
    if len(set(lengths)) < len(lengths):
        raise ValueError(f"lengths must name each length once, got {lengths!r}")
    if not _is_list(depths, int, float) or not all(0 <= depth <= 1 for depth in depths):
        raise ValueError(f"depths must be a list of numbers from 0 to 1, got {depths!r}")
    if len(set(depths)) < len(depths):
        raise ValueError(f"depths must name each depth once, got {depths!r}: its questions would be asked twice")
    check_number("samples, the number for each length and depth,", samples, 1)
    if not isinstance(seed, int):
        raise ValueError(f"seed must be an integer, got {seed!r}")


def check_number(name: str, value: object, least: int) -> None:
    """Raise ValueError unless `value` is an integer of at least `least`."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} must be at least {least}, got {value!r}")


def check_choice(name: str, value: object, among: Iterable[str]) -> None:
    """Raise ValueError unless `value` is one of the words of `among`."""
    if value not in (words := list(among)):
        raise ValueError(f"{name} must be one of {', '.join(words)}, got {value!r}")


def refuse_misspelt(task: str, names: Iterable[str], known: Iterable[str] = KNOWN) -> None:
    """Raise ValueError for a name that is close to a known one; others belong to the model."""
    known = list(known)
    for name in names:
        if name not in known and (close := difflib.get_close_matches(name, known, n=1, cutoff=0.85)):
            raise ValueError(f"unknown metadata {name!r} for {task}: did you mean {close[0]!r}?")


def _is_list(values: object, *kinds: type) -> bool:
    if isinstance(values, str) or not isinstance(values, Sequence) or not values:
        return False
    return all(isinstance(value, kinds) and not isinstance(value, bool) for value in values)
