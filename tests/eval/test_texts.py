import hashlib
import io
import tarfile
from pathlib import Path

import pytest

from rope_scaling.eval.texts import HISTORIES, PARADISE_LOST, TRAGEDIES, Text, build_text


def sdist(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def test_a_text_is_joined_in_order_and_made_plain(tmp_path: Path) -> None:
    files = {"a.txt": b"\r\nOne\r\n  two \x1a\r\n\r\n", "b.txt": "\ufeffé\n".encode(), "c.txt": b"\xe9\rd"}
    archive = sdist(tmp_path / "s.tar.gz", files)
    expected = "é\n\n\nOne\n  two \n\n\né\nd\n".encode()
    text = Text("joined", ("b.txt", "a.txt", "c.txt"), hashlib.sha256(expected).hexdigest())
    path = build_text(text, archive, tmp_path)
    assert path == tmp_path / "joined.txt"
    assert path.read_bytes() == expected


def test_a_text_that_came_out_otherwise_is_not_written(tmp_path: Path) -> None:
    archive = sdist(tmp_path / "s.tar.gz", {"a.txt": b"a"})
    with pytest.raises(ValueError, match=r"joined built from s\.tar\.gz has sha256"):
        build_text(Text("joined", ("a.txt",), "0" * 64), archive, tmp_path)
    with pytest.raises(ValueError, match=r"no plain file 'b\.txt'"):
        build_text(Text("joined", ("b.txt",), "0" * 64), archive, tmp_path)
    assert not (tmp_path / "joined.txt").exists()


def test_no_play_comes_twice() -> None:
    members = [*TRAGEDIES.members, *HISTORIES.members, *PARADISE_LOST.members]
    assert len(set(members)) == len(members) == 21
    assert not any("_gut_f" in member for member in members)
