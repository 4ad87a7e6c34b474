import json
from pathlib import Path
from typing import Any

import pytest

from rope_scaling.eval.report.answers import agreement, questions
from rope_scaling.eval.report.record import Record, read_record
from tests.eval.report.records import answers, record, task, tasked, written


def read(folder: Path, **tasks: Any) -> Record:
    return read_record(written(folder, record(format=3, tasks=tasks) if tasks else tasked()))


def test_a_question_stands_once_with_every_schemes_answer(tmp_path: Path) -> None:
    whole = tasked()["tasks"]
    for told in questions(read(tmp_path)):
        schemes = whole[told["name"]]["schemes"]
        assert told["schemes"] == list(schemes)
        by_key = {scheme: {one["key"]: one for one in each["answers"]} for scheme, each in schemes.items()}
        assert len(told["questions"]) == len(by_key["none"])
        for length, depth, prompt, expected, got, scores in told["questions"]:
            same = [one for one in by_key["none"].values() if one["prompt_end"] == prompt]
            assert len(same) == 1
            assert (length, depth, expected) == (same[0]["length"], same[0]["depth"], same[0]["expected"])
            for scheme, text, score in zip(told["schemes"], got, scores, strict=True):
                answer = by_key[scheme][same[0]["key"]]
                assert (text, score) == (answer["got"], pytest.approx(answer["score"], rel=1e-5))


def test_questions_come_from_the_shortest_to_the_longest(tmp_path: Path) -> None:
    one = questions(read(tmp_path, t=task({"none": answers({2048: 1, 512: 1, 1024: 1}, 4)})))[0]
    places = [(length, depth) for length, depth, *_ in one["questions"]]
    assert places == sorted(places)


def test_what_a_scheme_was_not_asked_is_null(tmp_path: Path) -> None:
    some = {"none": answers({512: 1}, 2), "x:factor=2": answers({512: 1}, 4)}
    one = questions(read(tmp_path, t=task(some)))[0]
    assert [scores[0] is None for *_, scores in one["questions"]].count(True) == 2
    assert all(scores[1] is not None for *_, scores in one["questions"])


def test_the_summary_counts_where_schemes_agree(tmp_path: Path) -> None:
    some = {"none": answers({512: 3}, 10), "x:factor=2": answers({512: 7}, 10), "y:factor=2": answers({512: 1}, 10)}
    table = agreement(read(tmp_path, t=task(some)))
    assert table is not None
    # of 10: the first by all three; 2 and 3 by two; 4 to 7 by x alone; 8 to 10 by none
    assert dict(zip(table.head, ("t", *table.rows[0][1]), strict=True)) == {
        "task": "t",
        "questions": "10",
        "right by all": "1",
        "schemes disagree": "6",
        "wrong by all": "3",
        "right by one alone": "x:factor=2: 4",
    }


def test_a_record_without_answers_has_no_questions(tmp_path: Path) -> None:
    whole = tasked()
    for one in whole["tasks"].values():
        for scheme in one["schemes"].values():
            scheme["answers"] = []
    path = written(tmp_path, json.loads(json.dumps(whole)))
    assert questions(read_record(path)) == []
    assert agreement(read_record(path)) is None
