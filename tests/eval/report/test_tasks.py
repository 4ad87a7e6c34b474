from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from rope_scaling.eval.report.findings import findings
from rope_scaling.eval.report.record import read_record
from rope_scaling.eval.report.tasks import TaskFinding, task_findings
from rope_scaling.eval.report.words import Verdict, verdict
from tests.eval.report.records import NATS, answers, cells, nats, record, task, tasked, written


def found(folder: Path, **tasks: Any) -> dict[str, TaskFinding]:
    value = record(format=3, tasks=tasks) if tasks else tasked()
    return {one.task.name: one for one in task_findings(read_record(written(folder, value)))}


def told(folder: Path, **tasks: Any) -> dict[str, Verdict]:
    value = {key: one for key, one in record().items() if key not in ("rows", "text", "window", "block", "passkey")}
    whole = read_record(written(folder, value | {"format": 3, "tasks": tasks}))
    known = task_findings(whole)
    return {one.scheme: verdict(whole, one, known) for one in findings(whole)}


def partial(shares: dict[int, list[float]]) -> dict[str, Any]:
    one = answers(dict.fromkeys(shares, 0), len(next(iter(shares.values()))))
    for place, share in enumerate(share for each in shares.values() for share in each):
        one["answers"][place]["score"] = share
    return one | {"cells": cells(one["answers"])}


def test_a_length_has_the_share_and_the_interval_of_scipy(tmp_path: Path) -> None:
    held = found(tmp_path)["rope_niah_single"].held("none")
    assert held is not None
    for length, right in ((512, 20), (1024, 3)):
        low, high = stats.binomtest(right, 20).proportion_ci(method="wilson")
        one = held.by_length[length]
        assert (one.mean, one.low, one.high) == pytest.approx((right / 20, low, high), abs=1e-4)


def test_a_scheme_is_compared_with_the_unpatched_model_on_the_same_questions(tmp_path: Path) -> None:
    one = found(tmp_path)["rope_niah_single"].against("good:factor=4", "none", "past")
    assert one is not None
    assert one.outcome == "better"
    assert one.difference.mean == pytest.approx(17 / 20)
    # 17 questions that only one of them got right: 2 · 2^-17, times the five comparisons of three tasks
    assert one.p_value == pytest.approx(5 * 2 / 2**17)


def test_a_comparison_can_be_read_from_either_side(tmp_path: Path) -> None:
    one = found(tmp_path)["rope_niah_single"]
    there, back = one.against("good:factor=4", "none", "past"), one.against("none", "good:factor=4", "past")
    assert there is not None
    assert back is not None
    assert (back.difference.low, back.difference.high) == (-there.difference.high, -there.difference.low)
    assert (there.outcome, back.outcome) == ("better", "worse")


def test_what_is_better_alone_is_undecided_among_many(tmp_path: Path) -> None:
    plain = answers({1024: 5})
    alone = found(tmp_path, weak=task({"none": plain, "x:factor=4": answers({1024: 12})}))["weak"]
    assert alone.against("x:factor=4", "none", "past").p_value == pytest.approx(2 / 2**7)  # type: ignore[union-attr]
    assert alone.versus[0].outcome == "better"
    others = {f"same{number}": task({"none": plain, "x:factor=4": plain}) for number in range(9)}
    among = found(tmp_path, weak=task({"none": plain, "x:factor=4": answers({1024: 12})}), **others)["weak"]
    assert among.versus[0].outcome == "undecided"


def test_partial_credit_is_compared_by_its_scores(tmp_path: Path) -> None:
    few, many = [0.25, 0.5] * 10, [0.75, 1.0, 0.5, 1.0] * 5
    one = found(tmp_path, vt=task({"none": partial({1024: few}), "x:factor=4": partial({1024: many})}))["vt"]
    versus = one.against("x:factor=4", "none", "past")
    assert versus is not None
    assert versus.difference.mean == pytest.approx(np.mean(many) - np.mean(few))
    assert versus.difference.low > 0
    assert versus.outcome == "better"


def test_texts_are_compared_by_their_blocks(tmp_path: Path) -> None:
    one = found(tmp_path, ppl=task({"none": nats(3.0), "x:factor=4": nats(2.9)}, **NATS))["ppl"]
    versus = one.against("x:factor=4", "none", "past")
    assert versus is not None
    assert versus.difference.count == 3 * 16
    assert versus.outcome == "better"  # lower is better
    assert one.best == "x:factor=4"
    assert one.held("none").holds is None  # type: ignore[union-attr]


def test_schemes_that_were_asked_other_questions_are_compared_on_those_in_common(tmp_path: Path) -> None:
    all_of_it, half = answers({1024: 20}), answers({1024: 10}, 10)
    one = found(tmp_path, kv=task({"none": half, "x:factor=4": all_of_it}))["kv"]
    assert one.versus[0].difference.count == 10


@pytest.mark.parametrize(
    ("threshold", "right", "at_least"), [("needle", 36, 1024), ("ruler", 36, 1024), ("ruler", 34, 0)]
)
def test_it_holds_to_its_tasks_own_threshold(tmp_path: Path, threshold: str, right: int, at_least: int) -> None:
    one = found(tmp_path, t=task({"none": answers({1024: right}, 36)}, threshold=threshold))["t"]
    low = stats.binomtest(right, 36).proportion_ci(method="wilson").low
    assert (low > {"needle": 0.9, "ruler": 0.856}[threshold]) == bool(at_least)
    assert one.schemes[0].holds.at_least == at_least  # type: ignore[union-attr]


def test_of_two_tasks_the_verdict_tells_the_scores(tmp_path: Path) -> None:
    needle = task({"none": answers({512: 40, 1024: 4}, 40), "x:factor=4": answers({512: 40, 1024: 40}, 40)})
    one = told(tmp_path, needle=needle)
    assert one["none"].sentence == "holds 512 (100% of 40), but not 1k (10% of 40) on needle."
    assert one["x:factor=4"].sentence == (
        "holds 1k (100% of 40) on needle; past 512, question by question against none: better on needle."
    )
    assert (one["none"].sees, one["none"].answers) == ("512", "")
    assert (one["x:factor=4"].sees, one["x:factor=4"].answers) == ("1k", "1 better")


def test_of_many_tasks_the_verdict_groups_what_is_alike(tmp_path: Path) -> None:
    good, bad = answers({512: 40, 1024: 40}, 40), answers({512: 40, 1024: 4}, 40)
    one = told(tmp_path, **{name: task({"none": good if name in "ab" else bad}) for name in "abcd"})["none"]
    assert one.sentence == "holds 1k on a and b, holds 512 on c and d."
    assert one.sees == "up to 1k, by task"


def test_few_questions_leave_the_verdict_open(tmp_path: Path) -> None:
    one = told(tmp_path, needle=task({"none": answers({512: 20, 1024: 19})}))["none"]
    assert one.sentence == "perhaps holds 1k (95% of 20) on needle."
    assert one.sees == "1k, undecided"
