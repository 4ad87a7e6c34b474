"""All scored tasks of a record together: the mean of their scores, and all of their questions paired."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rope_scaling.eval.bins import short
from rope_scaling.eval.report.asked import Asked, Task, Threshold
from rope_scaling.eval.report.charts import Chart
from rope_scaling.eval.report.record import Record
from rope_scaling.eval.report.tables import Table
from rope_scaling.eval.report.task_charts import task_charts
from rope_scaling.eval.report.task_tables import MARKS, reach_text
from rope_scaling.eval.report.task_tables import pairs as task_pairs
from rope_scaling.eval.report.tasks import Held, Place, TaskFinding, judged, paired
from rope_scaling.eval.stats import THRESHOLDS, Interval, averaged, effective_length, mean_interval

_THRESHOLD: Threshold = "ruler"
"""What RULER asks of the mean of its tasks."""


def overall(record: Record, found: Sequence[TaskFinding]) -> TaskFinding | None:
    """Return the tasks that are answered right or wrong as one; None where there are not two.

    Those that guessing answers are left out where there are two that it does not. A task counts the same in a mean, a
    question in a comparison. Only schemes that were asked all tasks have a mean, and only lengths at which each of
    those was asked all tasks.
    """
    scored = averaged([one for one in found if one.task.higher_is_better], lambda one: one.task.chance)
    if not scored:
        return None
    schemes = [held.scheme for held in scored[0].schemes if all(one.held(held.scheme) for one in scored)]
    lengths = [at for at in scored[0].task.lengths if all(_asked_at(one, schemes, at) for one in scored)]
    if not schemes or not lengths:
        return None
    task = _together([one.task for one in scored], schemes, lengths)
    held = tuple(_held(scored, scheme, lengths, record.length) for scheme in schemes)
    best = max(held, key=lambda one: (one.places.get("past") or one.places["within"]).mean)
    return TaskFinding(task, held, best.scheme, judged(task, paired(record.length, task)))


def means(whole: TaskFinding) -> Table:
    """Return the mean of the tasks by length, and how far it holds."""
    lengths = list(whole.schemes[0].by_length)
    rows = tuple((one.scheme, (*(_mean(one, at) for at in lengths), _reach(one))) for one in whole.schemes)
    return Table(
        f"{_capital(whole.task.name)}, by length (95% interval, ✓ holds, ✗ does not, ? undecided)",
        ("scheme", *map(short, lengths), "holds to"),
        rows,
    )


def pairs(record: Record, whole: TaskFinding) -> Table | None:
    """Return every scheme against the unpatched model, and against the best, on the questions of all tasks."""
    table = task_pairs(record, whole)
    return table and replace(table, caption="All tasks together, question by question")


def mean_chart(record: Record, whole: TaskFinding) -> Chart:
    """Return the picture of `means`."""
    note = (
        "Every task counts the same. 95% intervals are put together from those of the tasks (MOVER). The mean holds a "
        f"length where it reaches RULER’s {THRESHOLDS[_THRESHOLD]:.1%} there and at every shorter one."
    )
    chart = replace(task_charts(record, whole, 0)[0], note=note)
    return replace(chart, title=f"{_capital(whole.task.name)}, by length")


def _asked_at(finding: TaskFinding, schemes: Sequence[str], length: int) -> bool:
    each = (finding.held(scheme) for scheme in schemes)
    return all(held is not None and length in held.by_length for held in each)


def _together(tasks: Sequence[Task], schemes: Sequence[str], lengths: Sequence[int]) -> Task:
    asked = tuple(_asked([(task, one) for task in tasks if (one := task.asked(name))], lengths) for name in schemes)
    kind = "multiple-choice tasks" if tasks[0].chance else "tasks"
    return Task(f"mean of {len(tasks)} {kind}", "score", True, _THRESHOLD, None, asked)


def _asked(each: Sequence[tuple[Task, Asked]], lengths: Sequence[int]) -> Asked:
    """One scheme's questions of all tasks; two tasks may ask the same one."""
    answers = [
        replace(answer, key=f"{task.name} {answer.key}")
        for task, one in each
        for answer in one.answers
        if answer.length in lengths
    ]
    scores = [replace(score, depth=None) for _, one in each for score in one.scores if score.length in lengths]
    return Asked(each[0][1].scheme, tuple(scores), tuple(answers), sum(one.truncated for _, one in each))


def _held(found: Sequence[TaskFinding], scheme: str, lengths: Sequence[int], trained: int) -> Held:
    def over(some: Sequence[int]) -> Interval:
        each = [held.by_length[at] for one in found if (held := one.held(scheme)) for at in some]
        return mean_interval(each)

    by_length = {at: over([at]) for at in lengths}
    sides: dict[Place, list[int]] = {
        "within": [at for at in lengths if at <= trained],
        "past": [at for at in lengths if at > trained],
    }
    holds = effective_length(by_length, THRESHOLDS[_THRESHOLD])
    return Held(scheme, by_length, {place: over(some) for place, some in sides.items() if some}, holds)


def _mean(held: Held, length: int) -> str:
    one = held.by_length[length]
    mark = f" {MARKS[held.holds.answers[length]]}" if held.holds else ""
    return f"{one.mean:.0%} ({one.low:.0%} to {one.high:.0%}){mark}"


def _reach(held: Held) -> str:
    assert held.holds is not None
    return reach_text(held.holds)


def _capital(name: str) -> str:
    return name[0].upper() + name[1:]
