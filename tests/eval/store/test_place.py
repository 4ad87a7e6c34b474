from __future__ import annotations

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


@pytest.mark.parametrize("found", ["precious", "[]", f'{{"kind": "{KIND}", "format": 2}}', '{"format": 3}'])
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
        place.begin(force=True)
    assert place.record.exists()
    lines.close()
    assert place.begin(force=True) is None
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
    assert place.begin(force=False) == OURS
    assert not list(tmp_path.glob(".run.json-*"))


def test_a_file_is_no_folder_for_answers(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    with pytest.raises(ValueError, match=r"run is a file: name a folder for the run"):
        Place.of(tmp_path / "run").begin(force=False)
