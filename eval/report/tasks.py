"""What a record says of each task: how far each scheme holds, and who answers more than whom."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal

import torch

from rope_scaling.eval.report.asked import Asked, Score, Task
from rope_scaling.eval.report.pairs import Outcome, difference, outcome, pair
from rope_scaling.eval.report.record import Record
from rope_scaling.eval.stats import (
    THRESHOLDS,
    EffectiveLength,
    Interval,
    PairedDifference,
    block_interval,
    effective_length,
    holm,
    wilson,
)
from rope_scaling.eval.verdict import LEAST_BLOCKS

PLAIN = "none"
Place = Literal["within", "past"]


@dataclass(frozen=True)
class Held:
    """One scheme on one task.

    Attributes:
        scheme: as typed.
        by_length: mean score at each length with its 95 % interval; ends that nothing tells are infinite.
        places: the same over all lengths up to L, and past L.
        holds: how far it reaches the task's threshold; None where the task has none.
    """

    scheme: str
    by_length: Mapping[int, Interval]
    places: Mapping[Place, Interval]
    holds: EffectiveLength | None


@dataclass(frozen=True)
class Versus:
    """One scheme against another on the same questions of a task, up to L or past it; first minus second.

    Attributes:
        p_value: corrected for all comparisons of the record's tasks.
    """

    first: str
    second: str
    place: Place
    difference: PairedDifference
    p_value: float
    outcome: Outcome


@dataclass(frozen=True)
class TaskFinding:
    """One task.

    Attributes:
        task: what was asked and answered.
        schemes: what each scheme reaches, in order.
        best: the scheme with the best mean past L, or, where nothing lies past it, at all.
        versus: every scheme against the unpatched model on either side of L, and all pairs past it.
    """

    task: Task
    schemes: tuple[Held, ...]
    best: str
    versus: tuple[Versus, ...]

    def held(self, scheme: str) -> Held | None:
        """Return what one scheme reaches."""
        return next((one for one in self.schemes if one.scheme == scheme), None)

    def against(self, scheme: str, other: str, place: Place) -> Versus | None:
        """Return the comparison of two schemes, first minus second, where there is one."""
        for one in self.versus:
            if (one.first, one.second, one.place) == (scheme, other, place):
                return one
            if (one.second, one.first, one.place) == (scheme, other, place):
                return _turned(one)
        return None


def task_findings(record: Record) -> tuple[TaskFinding, ...]:
    """Return one for each task of a record, in its order."""
    found = [_finding(record.length, task) for task in record.tasks]
    corrected = iter(holm([one.p_value for finding in found for one in finding.versus]))
    return tuple(
        replace(finding, versus=tuple(_judged(finding.task, one, next(corrected)) for one in finding.versus))
        for finding in found
    )


def judged(task: Task, versus: Sequence[Versus]) -> tuple[Versus, ...]:
    """Return the comparisons of one task, corrected for each other alone."""
    corrected = holm([one.p_value for one in versus])
    return tuple(_judged(task, one, p_value) for one, p_value in zip(versus, corrected, strict=True))


def interval(asked: Asked, scores: Sequence[Score], higher_is_better: bool) -> Interval:
    """Return the mean of some cells with its 95 % interval: Wilson's, or that of blocks of tokens."""
    count = sum(score.samples for score in scores)
    mean = math.fsum(score.mean * score.samples for score in scores) / count
    if higher_is_better:
        return Interval(mean, *wilson(min(mean * count, count), count), 0.95, count)
    lengths = {score.length for score in scores}
    answers = [answer for answer in asked.answers if answer.length in lengths]
    whole = all(answer.blocks for answer in answers)
    values = [value for answer in answers for value in (answer.blocks if whole else (answer.score,))]
    if len(values) < LEAST_BLOCKS:
        return Interval(mean, -math.inf, math.inf, 0.95, count)
    ends = block_interval(torch.tensor(values, dtype=torch.float64))
    return Interval(ends.mean, ends.low, ends.high, 0.95, count)


def _finding(length: int, task: Task) -> TaskFinding:
    held = tuple(_held(length, task, asked) for asked in task.schemes)
    best = max(held, key=lambda one: _goodness(task, one)).scheme
    return TaskFinding(task, held, best, tuple(paired(length, task)))


def _held(length: int, task: Task, asked: Asked) -> Held:
    def over(scores: Sequence[Score]) -> Interval:
        return interval(asked, scores, task.higher_is_better)

    lengths = sorted({score.length for score in asked.scores})
    by_length = {at: over([score for score in asked.scores if score.length == at]) for at in lengths}
    sides: dict[Place, list[Score]] = {
        "within": [score for score in asked.scores if score.length <= length],
        "past": [score for score in asked.scores if score.length > length],
    }
    holds = effective_length(by_length, THRESHOLDS[task.threshold]) if task.threshold else None
    return Held(asked.scheme, by_length, {place: over(some) for place, some in sides.items() if some}, holds)


def _goodness(task: Task, held: Held) -> float:
    mean = (held.places.get("past") or held.places["within"]).mean
    return mean if task.higher_is_better else -mean


def paired(length: int, task: Task) -> list[Versus]:
    """Return the comparisons, not yet corrected; the unpatched model always comes second."""
    found = []
    for one, other in combinations(task.schemes, 2):
        first, second = (other, one) if one.scheme == PLAIN else (one, other)
        pairs = pair(first.answers, second.answers)
        sides: dict[Place, bool] = {"within": second.scheme == PLAIN, "past": True}
        for place, wanted in sides.items():
            some = [both for both in pairs if (both[0].length > length) == (place == "past")]
            told = difference(some, task.higher_is_better) if wanted else None
            if told is not None:
                found.append(Versus(first.scheme, second.scheme, place, told, told.p_value, "undecided"))
    return found


def _judged(task: Task, versus: Versus, p_value: float) -> Versus:
    told = outcome(versus.difference, p_value, task.higher_is_better)
    return replace(versus, p_value=p_value, outcome=told)


def _turned(versus: Versus) -> Versus:
    told = versus.difference
    turned = replace(told, mean=-told.mean, low=-told.high, high=-told.low)
    outcomes: dict[Outcome, Outcome] = {"better": "worse", "worse": "better", "undecided": "undecided"}
    return Versus(versus.second, versus.first, versus.place, turned, versus.p_value, outcomes[versus.outcome])
