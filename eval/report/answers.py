"""Single questions with every scheme's answer: in full for the page's script, and counted for paper."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rope_scaling.eval.report.asked import Answer, Task
from rope_scaling.eval.report.charts import rounded
from rope_scaling.eval.report.record import Record
from rope_scaling.eval.report.tables import NONE, Table


def questions(record: Record) -> list[dict[str, Any]]:
    """Return every task with its questions, as the page's script reads them; nothing in it is escaped.

    A question is a list, for there may be thousands: length, depth, prompt's end, what was expected, and for each
    scheme the answer and its score, null where it was not asked.
    """
    return [
        {
            "name": task.name,
            "nats": not task.higher_is_better,
            "schemes": [asked.scheme for asked in task.schemes],
            "questions": [_question(answers) for answers in _side_by_side(task)],
        }
        for task in record.tasks
        if any(asked.answers for asked in task.schemes)
    ]


def agreement(record: Record) -> Table | None:
    """How often the schemes agree, a row a task."""
    told = [task for task in record.tasks if task.higher_is_better and any(asked.answers for asked in task.schemes)]
    if not told:
        return None
    head = ("task", "questions", "right by all", "schemes disagree", "wrong by all", "right by one alone")
    return Table("Questions on which the schemes agree", head, tuple((task.name, _agreement(task)) for task in told))


def _side_by_side(task: Task) -> list[list[Answer | None]]:
    """Return for each question every scheme's answer, shortest questions first and otherwise as they were asked."""
    keys = [{answer.key: answer for answer in asked.answers} for asked in task.schemes]
    order: dict[str, tuple[int, float]] = {}
    for answers in keys:
        for key, answer in answers.items():
            order.setdefault(key, (answer.length, -1.0 if answer.depth is None else answer.depth))
    return [[answers.get(key) for answers in keys] for key in sorted(order, key=lambda key: order[key])]


def _question(answers: Sequence[Answer | None]) -> list[Any]:
    first = next(answer for answer in answers if answer is not None)
    return [
        first.length,
        first.depth,
        first.prompt,
        list(first.expected),
        [answer and answer.got for answer in answers],
        [answer and rounded(answer.score) for answer in answers],
    ]


def _agreement(task: Task) -> tuple[str, ...]:
    asked = _side_by_side(task)
    scores = [[answer.score for answer in answers if answer is not None] for answers in asked]
    right, wrong = sum(min(each) == 1 for each in scores), sum(max(each) == 0 for each in scores)
    differ = sum(min(each) < max(each) for each in scores)
    alone = [_alone([answer is not None and answer.score == 1 for answer in answers]) for answers in asked]
    counts = [(one.scheme, alone.count(place)) for place, one in enumerate(task.schemes) if place in alone]
    told = "; ".join(f"{scheme}: {number}" for scheme, number in counts) or NONE
    return str(len(asked)), str(right), str(differ), str(wrong), told


def _alone(right: list[bool]) -> int | None:
    """Return the only place that is right, among several."""
    return right.index(True) if len(right) > 1 and right.count(True) == 1 else None
