from pathlib import Path

import pytest

from rope_scaling.eval.results import peak_memory, versions, write_json


def test_a_result_is_written_with_its_folders(tmp_path: Path) -> None:
    write_json(tmp_path / "runs" / "a.json", {"x": 1})
    assert (tmp_path / "runs" / "a.json").read_text() == '{\n "x": 1\n}\n'
    assert [p.name for p in (tmp_path / "runs").iterdir()] == ["a.json"]


def test_an_older_result_is_only_replaced_by_force(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, 1)
    with pytest.raises(ValueError, match=r"a\.json exists: .* --force"):
        write_json(path, 2)
    assert path.read_text() == "1\n"
    write_json(path, 2, force=True)
    assert path.read_text() == "2\n"


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is a folder"):
        write_json(tmp_path, 1, force=True)


def test_what_fails_on_the_way_leaves_the_older_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    write_json(path, 1)

    def full(fd: int) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="no space left"):
        write_json(path, 2, force=True)
    assert path.read_text() == "1\n"
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_a_number_that_json_has_not_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "a.json", float("nan"))
    assert not list(tmp_path.iterdir())


def test_versions_and_memory_are_known() -> None:
    assert {"rope-scaling", "torch", "transformers", "python"} == set(versions())
    peak = peak_memory()
    assert peak is None or 10_000_000 < peak < 10**12
