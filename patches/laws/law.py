"""The verdict on one law that a model must obey, with the number that was measured."""

from __future__ import annotations

import math
from dataclasses import dataclass

UNMEASURED = math.nan


@dataclass(frozen=True)
class LawResult:
    """A law of RoPE, or a fact on which weights and config must agree, held against one model.

    Attributes:
        name: Which law.
        passed: Whether it holds; None where that cannot be told, or where the law does not apply.
        measured: What was measured, in the unit that `sentence` tells; NaN where nothing was.
        bound: What it is held against; most laws hold where `measured` is no larger.
        sentence: What this means, in plain words; where `passed` is None, the reason.
    """

    name: str
    passed: bool | None
    measured: float
    bound: float
    sentence: str


def judge(name: str, measured: float, bound: float, holds: str, broken: str) -> LawResult:
    """Passed where `measured` is at most `bound`, which NaN is not; the sentence is chosen to fit."""
    passed = measured <= bound
    return LawResult(name, passed, measured, bound, holds if passed else broken)


def undecided(name: str, reason: str, measured: float = UNMEASURED, bound: float = UNMEASURED) -> LawResult:
    """Neither passed nor failed, and why."""
    return LawResult(name, None, measured, bound, reason)
