from __future__ import annotations

import json
from pathlib import Path

import pytest

from rope_scaling.eval.store.answers import Answers
from rope_scaling.eval.store.keys import digest
from rope_scaling.eval.store.lines import Lines, read_lines, whole_folder

MODEL = {"weights": "w", "dtype": "float32"}


def test_lines_come_back_in_order(tmp_path: Path) -> None:
    lines = Lines(tmp_path / "new")
    for number in range(3):
        lines.append({"number": number})
    assert [line["number"] for line in read_lines(tmp_path / "new")] == [0, 1, 2]


@pytest.mark.parametrize("torn", [b'{"number": 1', b'{"number": 1}', b"\0\0\0\0"])
def test_a_half_written_last_line_is_not_read_and_the_next_is_not_glued_to_it(tmp_path: Path, torn: bytes) -> None:
    file = tmp_path / "answers-0.jsonl"
    file.write_bytes(b'{"number": 0}\n' + torn)
    assert list(read_lines(tmp_path)) == [{"number": 0}]
    lines = Lines(tmp_path)
    lines.append({"number": 2})
    lines.close()
    assert lines.path == file
    assert list(read_lines(tmp_path)) == [{"number": 0}, {"number": 2}]


def test_a_damaged_line_costs_that_line_alone(tmp_path: Path) -> None:
    (tmp_path / "answers-0.jsonl").write_bytes(b'{"number": 0}\n{"numb\xff\n[1]\n{"number": 3}\n')
    assert list(read_lines(tmp_path)) == [{"number": 0}, {"number": 3}]


def test_every_writer_has_a_file_of_its_own(tmp_path: Path) -> None:
    first, second = Lines(tmp_path), Lines(tmp_path)
    assert first.path != second.path
    second.append({"number": 2})
    first.append({"number": 1})
    assert list(read_lines(tmp_path)) == [{"number": 1}, {"number": 2}]
    with pytest.raises(ValueError, match=r"another process writes .*answers-"), whole_folder(tmp_path):
        pass
    first.close()
    assert Lines(tmp_path).path == first.path


def test_answers_are_found_by_model_and_question(tmp_path: Path) -> None:
    with Answers(tmp_path) as answers:
        answers.add(MODEL, {"a": [[-1.5, True]], "b": ["text"]}, seconds=3.0)
    read = Answers(tmp_path)

    key = digest(MODEL)
    assert (read.get(key, "a"), read.get(key, "b"), read.get(key, "c")) == ([[-1.5, True]], ["text"], None)
    assert read.get(digest(MODEL | {"dtype": "bfloat16"}), "a") is None
    assert read.seconds(key, ["a", "c"]) == 1.5


def test_a_unit_is_one_line_so_a_torn_one_leaves_nothing_of_it(tmp_path: Path) -> None:
    with Answers(tmp_path) as answers:
        answers.add(MODEL, {"a": [1], "b": [2]}, seconds=1.0)
        answers.add(MODEL, {"c": [3], "d": [4]}, seconds=1.0)
    (file,) = tmp_path.glob("answers*.jsonl")
    content = file.read_bytes()
    for size in (len(content) - 1, content.rindex(b'"d"')):
        file.write_bytes(content[:size])
        kept = [line["answers"] for line in read_lines(tmp_path) if "answers" in line]
        assert kept == [{"a": [1], "b": [2]}]


def test_the_first_of_two_answers_to_one_question_stays(tmp_path: Path) -> None:
    with Answers(tmp_path) as one, Answers(tmp_path) as other:
        one.add(MODEL, {"a": [1]}, 1.0)
        other.add(MODEL, {"a": [2]}, 1.0)
    lines = [line for line in read_lines(tmp_path) if "answers" in line]
    assert len(lines) == 2
    assert Answers(tmp_path).get(lines[0]["model"], "a") == [1]


def test_without_a_folder_answers_are_kept_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with Answers(None) as answers:
        answers.add(MODEL, {"a": [1]}, 1.0)

        assert answers.get(digest(MODEL), "a") == [1]
    assert not list(tmp_path.iterdir())


def test_what_a_model_is_stands_before_its_answers_once(tmp_path: Path) -> None:
    with Answers(tmp_path) as answers:
        answers.add(MODEL, {"a": [1]}, 1.0)
        answers.add(MODEL, {"b": [1]}, 1.0)
    (file,) = tmp_path.glob("answers*.jsonl")
    first, *rest = map(json.loads, file.read_text().splitlines())
    assert first["identity"] == MODEL
    assert [line["model"] for line in rest] == [first["model"]] * 2
