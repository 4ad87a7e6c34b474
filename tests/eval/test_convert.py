import zipfile
from pathlib import Path

import pytest

from rope_scaling.eval.convert import convert_wheel, need_gguf


def test_without_gguf_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r'pip install "rope-scaling\[gguf\]"'):
        need_gguf()


def test_a_wheel_is_converted_from_the_gguf_file_inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("gguf")
    wheel, folder, seen = tmp_path / "w.whl", tmp_path / "out", list[bytes]()
    folder.mkdir()
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("pkg/m.gguf", b"GGUF")
    monkeypatch.setattr("rope_scaling.eval.convert._convert", lambda gguf, folder: seen.append(gguf.read_bytes()))
    assert convert_wheel("pkg/m.gguf", wheel, folder) == folder
    assert seen == [b"GGUF"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "w.whl"]
