"""All tasks of a record together: means that weigh tasks alike, and their questions paired."""

from pathlib import Path
from typing import Any

import pytest
from scipy import stats

from rope_scaling.eval.report.findings import findings
from rope_scaling.eval.report.markdown import markdown
from rope_scaling.eval.report.overall import means, overall, pairs
from rope_scaling.eval.report.record import Record, read_record
from rope_scaling.eval.report.tasks import TaskFinding, task_findings
from rope_scaling.eval.report.words import verdict
from tests.eval.report.records import NATS, answers, nats, record, task, written

SCHEME = "x:factor=4"


def read(folder: Path, **tasks: Any) -> Record:
    value = {key: one for key, one in record().items() if key not in ("rows", "text", "window", "block", "passkey")}
    return read_record(written(folder, value | {"format": 3, "tasks": tasks}))


def whole(folder: Path, **tasks: Any) -> TaskFinding | None:
    known = read(folder, **tasks)
    return overall(known, task_findings(known))


def both(none: dict[int, int], scheme: dict[int, int], samples: int = 20, **changes: Any) -> dict[str, Any]:
    return task({"none": answers(none, samples), SCHEME: answers(scheme, samples)}, **changes)


def test_every_task_counts_the_same_in_the_mean(tmp_path: Path) -> None:
    found = whole(tmp_path, many=both({1024: 0}, {1024: 90}, 100), few=both({1024: 1}, {1024: 5}, 10))
    assert found is not None
    held = found.held(SCHEME)
    assert held is not None
    assert held.by_length[1024].mean == pytest.approx((0.9 + 0.5) / 2)
    assert held.by_length[1024].count == 110


def test_all_questions_are_paired_and_equal_prompts_of_two_tasks_kept_apart(tmp_path: Path) -> None:
    found = whole(tmp_path, one=both({1024: 2}, {1024: 6}), other=both({1024: 3}, {1024: 5}))
    assert found is not None
    versus = found.against(SCHEME, "none", "past")
    assert versus is not None
    assert versus.difference.count == 40
    assert versus.difference.mean == pytest.approx(6 / 40)
    assert versus.p_value == pytest.approx(stats.binomtest(6, 6).pvalue)
    assert versus.outcome == "better"


def test_a_few_questions_of_many_tasks_tell_what_no_task_tells_alone(tmp_path: Path) -> None:
    known = read(tmp_path, **{f"task{number}": both({1024: 0}, {1024: 1}, 1) for number in range(10)})
    found = task_findings(known)
    assert all(one.versus[0].outcome == "undecided" for one in found)
    together = overall(known, found)
    assert together is not None
    assert together.versus[0].outcome == "better"


def test_the_mean_is_of_lengths_and_schemes_that_were_asked_everything(tmp_path: Path) -> None:
    first = task({"none": answers({512: 20, 1024: 3}), SCHEME: answers({512: 20, 1024: 20})})
    second = task({"none": answers({512: 20}), SCHEME: answers({512: 18}), "late": answers({512: 1})})
    found = whole(tmp_path, first=first, second=second)
    assert found is not None
    assert [one.scheme for one in found.schemes] == ["none", SCHEME]
    assert list(found.schemes[0].by_length) == [512]
    assert all(answer.length == 512 for asked in found.task.schemes for answer in asked.answers)


def test_guessing_is_not_averaged_with_telling(tmp_path: Path) -> None:
    told, choice = both({1024: 0}, {1024: 20}), both({1024: 5}, {1024: 9}, chance=0.25)
    found = whole(tmp_path, a=told, b=told, c=choice)
    assert found is not None
    assert found.task.name == "mean of 2 tasks"
    only = whole(tmp_path, a=told, c=choice, d=choice)
    assert only is not None
    assert only.task.name == "mean of 2 multiple-choice tasks"


def test_one_task_and_texts_have_no_mean(tmp_path: Path) -> None:
    one, text = both({1024: 0}, {1024: 20}), task({"none": nats(3.0), SCHEME: nats(2.9)}, **NATS)
    assert whole(tmp_path, one=one, text=text, other=text) is None


def test_the_verdict_and_the_summary_tell_it_first(tmp_path: Path) -> None:
    known = read(
        tmp_path, one=both({512: 20, 1024: 2}, {512: 20, 1024: 19}), other=both({512: 20, 1024: 0}, {512: 20, 1024: 20})
    )
    tasks = task_findings(known)
    together = overall(known, tasks)
    assert together is not None
    # Wilson's ends: 20 of 20 from 83.9%; 2 of 20 from 2.8% to 30.1%, 0 of 20 to 16.1%
    assert means(together).rows[0] == ("none", ("100% (89% to 100%) ✓", "5% (1% to 18%) ✗", "512"))
    verdicts = [verdict(known, one, tasks, together) for one in findings(known)]
    said = next(one.sentence for one in verdicts if one.scheme == SCHEME)
    assert said.startswith("holds 512 and perhaps 1k on the mean of 2 tasks (100% at 512, 98% at 1k), past 512 better")
    text = markdown(known, findings(known), verdicts, tasks=tasks, whole=together)
    assert text.index("**Mean of 2 tasks, by length") < text.index("**How far each scheme holds, by task")
    table = pairs(known, together)
    assert table is not None
    assert table.caption in text
