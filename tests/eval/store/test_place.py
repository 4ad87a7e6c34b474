from __future__ import annotations

import os
from pathlib import Path

import pytest

from rope_scaling.eval.store.lines import Lines
from rope_scaling.eval.store.place import FORMAT, KIND, Place

OURS = {"kind": KIND, "format": FORMAT}


def test_a_folder_holds_record_and_answers_and_a_file_has_them_beside_it(tmp_path: Path) -> None:
    assert Place.of(tmp_path / "run") == Place(tmp_path / "run" / "run.json", tmp_path / "run")
    assert Place.of(tmp_path / "a.json") == Place(tmp_path / "a.json", tmp_path / "a.answers")


@pytest.mark.parametrize("output", ["run", "run.json"])
def test_a_record_that_is_written_is_there_for_the_next_command(tmp_path: Path, output: str) -> None:
    place = Place.of(tmp_path / output)
    assert place.begin(force=False) is None
    place.write(OURS)
    place.write(OURS | {"more": 1})
    assert place.begin(force=False) == OURS | {"more": 1}


@pytest.mark.parametrize("found", ["precious", "[]", '{"format": 3}'])
def test_what_is_no_record_of_ours_is_left_alone(tmp_path: Path, found: str) -> None:
    place = Place.of(tmp_path / "run.json")
    place.record.write_text(found)
    with pytest.raises(ValueError, match=r"exists: choose another name, or pass --force"):
        place.begin(force=False)
    assert place.record.read_text() == found


def test_force_starts_over_and_removes_nothing_else(tmp_path: Path) -> None:
    place = Place.of(tmp_path)
    lines = Lines(place.answers)
    lines.append({})
    place.write(OURS)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="another process writes"):
        place.clear()
    assert place.record.exists()
    lines.close()
    assert place.begin(force=True) is None
    assert place.record.exists()  # what is asked may still be refused
    place.clear()
    assert sorted(path.name for path in tmp_path.iterdir() if not path.name.startswith(".")) == ["notes.txt"]


def test_a_damaged_record_does_not_cost_the_answers_beside_it(tmp_path: Path) -> None:
    place = Place.of(tmp_path)
    lines = Lines(place.answers)
    lines.append({})
    lines.close()
    place.record.write_text('{"kind": "rope-sc')
    with pytest.raises(ValueError, match=r"is damaged .*remove this file alone"):
        place.begin(force=False)
    place.record.unlink()
    assert place.begin(force=False) is None
    assert lines.path.read_text() == "{}\n"


def test_what_killed_writers_left_is_removed(tmp_path: Path) -> None:
    place = Place.of(tmp_path)
    place.write(OURS)
    (tmp_path / ".run.json-abc").mkdir()
    (tmp_path / ".run.json-abc" / "run.json").write_text("{")
    place.write(OURS)
    assert not list(tmp_path.glob(".run.json-*"))


def test_a_file_is_no_folder_for_answers(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    with pytest.raises(ValueError, match=r"run is a file: name a folder for the run"):
        Place.of(tmp_path / "run").begin(force=False)


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (
            "4",
            "written by a newer rope-scaling; .*: install the rope-scaling that wrote it",
        ),
        ("2", "which cannot be added to; this version writes 3: choose another --output, or pass --force"),
        ('"x"', "which cannot be added to"),
        ("true", "which cannot be added to"),
    ],
)
def test_a_record_of_another_format_says_what_to_do(tmp_path: Path, number: str, told: str) -> None:
    place = Place.of(tmp_path)
    place.record.write_text(f'{{"kind": "{KIND}", "format": {number}}}')
    before = place.record.read_bytes()
    with pytest.raises(ValueError, match=rf"run.json is a record of format .*{told}"):
        place.begin(force=False)
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]
    assert place.record.read_bytes() == before


def test_looking_leaves_nothing_behind(tmp_path: Path) -> None:
    for output in (tmp_path / "run", tmp_path / "run.json"):
        for force in (False, True):
            Place.of(output).begin(force)
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_written_is_told_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)  # root may write everywhere
    with pytest.raises(ValueError, match="cannot be written to: choose another --output"):
        Place.of(tmp_path / "a" / "b").begin(force=False)
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"file is a file, so .* cannot be made"):
        Place.of(tmp_path / "file" / "run").begin(force=False)
