from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from rope_scaling.eval.runner.entries import cells
from rope_scaling.eval.runner.table import print_tasks

TASK = {"metric": "acc", "higher_is_better": True, "threshold": "needle", "chance": 0.25}


def scheme(**scores: tuple[int, int]) -> dict[str, Any]:
    """Right answers and questions by length."""
    answers = [
        {"length": int(length[1:]), "depth": None, "index": index, "score": float(index < right)}
        for length, (right, asked) in scores.items()
        for index in range(asked)
    ]
    return {"answers": answers, "cells": cells(answers)}


def printed(tasks: dict[str, Any]) -> str:
    console = Console(width=100, record=True, file=io.StringIO())
    print_tasks(console, tasks)
    return console.export_text()


@pytest.mark.parametrize(
    ("scores", "far"),
    [
        ({"L1024": (40, 40), "L2048": (40, 40)}, " 2k "),
        ({"L1024": (40, 40), "L2048": (9, 10)}, " 1k to 2k "),
        ({"L1024": (10, 10), "L2048": (0, 10)}, " up to 1k? "),
        ({"L1024": (0, 10), "L2048": (10, 10)}, " - "),
    ],
)
def test_how_far_a_scheme_sees_is_said_as_surely_as_it_is_known(scores: Any, far: str) -> None:
    shown = printed({"rope_kv_mc": {**TASK, "schemes": {"yarn:factor=2": scheme(**scores)}}})
    (row,) = [line for line in shown.splitlines() if "yarn:factor=2" in line]
    assert far in row.rpartition("│")[0]
    assert "rope_kv_mc: % right (of so many questions; 25 % by chance)" in shown


def test_a_length_that_a_scheme_was_not_asked_is_a_gap() -> None:
    schemes = {"none": scheme(L512=(1, 4)), "[b]ntk[/b]": scheme(L1024=(3, 4))}
    shown = printed({"rope_kv_mc": {**TASK, "schemes": schemes}})
    none, ntk = (next(line for line in shown.splitlines() if name in line) for name in ("none", "[b]ntk[/b]"))
    assert ("25 (4)" in none, "75 (4)" in ntk) == (True, True)
    assert [part.strip() for part in none.split("│")[2:4]] == ["25 (4)", "-"]


def test_nats_have_no_threshold() -> None:
    entry = {"answers": [], "cells": [{"length": 512, "depth": None, "samples": 2, "score": 3.14159}]}
    task = {"metric": "nll", "higher_is_better": False, "threshold": None, "chance": None, "schemes": {"none": entry}}
    shown = printed({"rope_ppl": task})
    assert "nats per token (lower is better)" in shown
    assert "3.142" in shown
    assert "sees" not in shown


def test_the_mean_of_tasks_weighs_them_alike_and_leaves_guesses_out() -> None:
    told = {**TASK, "chance": None}
    many = {"none": scheme(L512=(90, 100), L1024=(1, 1)), "late": scheme(L512=(1, 1))}
    few = {"none": scheme(L512=(5, 10)), "unasked": scheme(L512=(1, 1))}
    tasks = {"a": {**told, "schemes": many}, "b": {**told, "schemes": few}, "c_mc": {**TASK, "schemes": few}}
    shown = printed(tasks).partition("mean of 2 tasks")[2]
    assert "late" not in shown
    assert "unasked" not in shown
    (row,) = [line for line in shown.splitlines() if "none" in line]
    # Wilson: 90 of 100 from 82.6 % to 94.5 %, 5 of 10 from 23.7 % to 76.3 %
    assert [part.strip() for part in row.split("│")[2:4]] == ["70 (56-83)", "-"]


def test_one_task_has_no_mean() -> None:
    one = {**TASK, "chance": None, "schemes": {"none": scheme(L512=(1, 1))}}
    assert "mean of" not in printed({"a": one, "c_mc": {**TASK, "schemes": {"none": scheme(L512=(1, 1))}}})
