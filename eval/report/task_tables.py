"""The numbers of the tasks as tables of text, the same for the page and for Markdown."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rope_scaling.eval.bins import short
from rope_scaling.eval.report.asked import Task
from rope_scaling.eval.report.numerals import count, signed
from rope_scaling.eval.report.record import Record
from rope_scaling.eval.report.tables import NONE, Table, p_text
from rope_scaling.eval.report.tasks import PLAIN, Held, Place, TaskFinding, Versus
from rope_scaling.eval.stats import Answer, EffectiveLength

MARKS: dict[Answer, str] = {"yes": "✓", "no": "✗", "undecided": "?"}
"""Whether a scheme holds a length."""


def reached(found: Sequence[TaskFinding]) -> Table | None:
    """How far each scheme holds, a row a task that says what holding is."""
    told = [one for one in found if one.task.threshold]
    if not told:
        return None
    schemes = list(dict.fromkeys(held.scheme for one in told for held in one.schemes))
    rows = tuple((one.task.name, tuple(_reach(one.held(scheme)) for scheme in schemes)) for one in told)
    return Table("How far each scheme holds, by task", ("task", *schemes), rows)


def bars(found: Sequence[TaskFinding]) -> dict[str, list[tuple[int, int] | None]]:
    """Return, for every task of `reached`, how much of its lengths each scheme holds surely and at most, in percent."""
    told = [one for one in found if one.task.threshold]
    schemes = list(dict.fromkeys(held.scheme for one in told for held in one.schemes))
    return {one.task.name: [_bar(one.held(scheme)) for scheme in schemes] for one in told}


def scores(finding: TaskFinding) -> Table:
    """Scores of one task by length, with whether each reaches the task's threshold."""
    task, rows = finding.task, []
    for held in finding.schemes:
        cells = [_score(held, length, task.higher_is_better) for length in task.lengths]
        rows.append((held.scheme, (*cells, _reach(held)) if task.threshold else tuple(cells)))
    what, last = "score" if task.higher_is_better else "nats a token", ("holds to",) if task.threshold else ()
    marks = f", {MARKS['yes']} holds, {MARKS['no']} does not, {MARKS['undecided']} undecided" if last else ""
    head = ("scheme", *map(short, task.lengths), *last)
    return Table(f"{task.name}: {what} by length (95% interval{marks})", head, tuple(rows))


def pairs(record: Record, finding: TaskFinding) -> Table | None:
    """Every scheme of one task against the unpatched model, and against the best, question by question."""
    higher, rows = finding.task.higher_is_better, []
    for place, other in _sides(finding):
        where = f"{'to' if place == 'within' else 'past'} {short(record.length)}"
        for held in finding.schemes:
            versus = finding.against(held.scheme, other, place)
            told = other == finding.best and held.scheme == PLAIN  # the best against it stands above
            if versus is not None and not told:
                rows.append((held.scheme, (other, where, *_versus(versus, higher))))
    head = ("scheme", "against", "at", "difference (95%)", "pairs", "p", "answers")
    return Table(f"{finding.task.name}: question by question", head, tuple(rows)) if rows else None


def pairs_note(task: Task) -> str:
    """Say how the paired comparisons were made."""
    how = (
        "Scheme minus the other, in percentage points on the same questions; Newcombe’s interval and McNemar’s exact "
        "test where answers are right or wrong, else bootstrap-t and flipped signs"
        if task.higher_is_better
        else "Scheme minus the other, in nats a token on blocks of the same texts; bootstrap-t and flipped signs"
    )
    return f"{how}. p is corrected by Holm for all comparisons of all tasks here; better or worse needs p below 0.05."


def overall_note() -> str:
    """Say how the comparison of all tasks together was made."""
    return (
        "Scheme minus the other, in percentage points on the same questions of all tasks, each question counting the "
        "same; p is corrected by Holm for all comparisons of all tasks together."
    )


def reach_text(holds: EffectiveLength) -> str:
    """Return how far a scheme holds, and whether that is sure."""
    first = min(holds.answers)
    if holds.at_most == 0:
        return f"not to {short(first)}"
    return short(holds.at_most) if holds.decided else f"{short(holds.at_most)}, undecided"


def _sides(finding: TaskFinding) -> list[tuple[Place, str]]:
    """Return where to compare, and with what."""
    best: list[tuple[Place, str]] = [("past", finding.best)] if finding.best != PLAIN else []
    return [("within", PLAIN), ("past", PLAIN), *best]


def _reach(held: Held | None) -> str:
    return NONE if held is None or held.holds is None else reach_text(held.holds)


def _bar(held: Held | None) -> tuple[int, int] | None:
    if held is None or held.holds is None:
        return None
    lengths = list(held.holds.answers)
    sure, perhaps = (sum(length <= end for length in lengths) for end in (held.holds.at_least, held.holds.at_most))
    return round(100 * sure / len(lengths)), round(100 * perhaps / len(lengths))


def _score(held: Held, length: int, higher_is_better: bool) -> str:
    one = held.by_length.get(length)
    if one is None:
        return NONE
    if not higher_is_better:
        ends = f" ({one.low:.3f} to {one.high:.3f})" if math.isfinite(one.low) else ""
        return f"{one.mean:.3f}{ends}"
    mark = f" {MARKS[held.holds.answers[length]]}" if held.holds else ""
    return f"{count(one).replace(' of ', '/')} ({one.low:.0%} to {one.high:.0%}){mark}"


def _versus(versus: Versus, higher_is_better: bool) -> tuple[str, ...]:
    told = versus.difference
    ends = (told.mean, told.low, told.high)
    mean, low, high = (signed(100 * one, 0) if higher_is_better else signed(one, 3) for one in ends)
    return f"{mean} ({low} to {high})", str(told.count), p_text(versus.p_value), versus.outcome
