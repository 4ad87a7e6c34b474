"""A folder appears whole or not at all: killed, raced, starved and interrupted."""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import signal
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

import pytest

from rope_scaling.extend.files import Entry
from rope_scaling.extend.publish import published
from tests.extend.child import extend, main
from tests.extend.folders import contents, digest, write_json, write_safetensors

LEFT_OVER = ".out.rope-scaling-partial"
NAMES = [f"model-{number:05d}.safetensors" for number in range(4)]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    write_json(folder / "config.json", {"model_type": "llama", "max_position_embeddings": 64, "rope_theta": 1e4})
    for name in NAMES:
        write_safetensors(folder / name, {"weight": ("U8", [2**20], 2**20)})
    write_json(folder / "model.safetensors.index.json", {"weight_map": dict.fromkeys(NAMES, NAMES[0])})
    for number in range(30):
        (folder / f"note-{number}.txt").write_text(f"{number}\n" * 1000)
    return folder


@pytest.fixture(scope="module")
def server() -> ForkServerContext:
    """Forks of a process that has imported everything, where each would take seconds to do so."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.extend.child"])
    return context


@dataclass
class Child:
    """A process that has begun; it works as soon as it is let go, and dies before its step `last`."""

    process: ForkServerProcess
    pipe: Connection

    @classmethod
    def start(
        cls, server: ForkServerContext, source: Path, out: Path, last: int = 0, limit: int | None = None, **flags: bool
    ) -> Child:
        pipe, its_end = server.Pipe()
        process = server.Process(target=main, args=(its_end, source, out, last, limit, flags))
        process.start()
        its_end.close()
        assert pipe.recv() == "begin"
        return cls(process, pipe)

    def let_go(self) -> None:
        self.pipe.send("go")

    def ended(self) -> int | str | None:
        """The steps it took, or what it complained of; None where it was killed."""
        try:
            told: int | str | None = self.pipe.recv()
        except (EOFError, ConnectionError):
            told = None
        self.process.join()
        assert self.process.exitcode in (-signal.SIGKILL, {int: 0, str: 1}.get(type(told)))
        return told


@pytest.mark.parametrize("times", [10, pytest.param(100, marks=pytest.mark.slow)])
def test_a_killed_process_leaves_the_folder_whole_or_absent(
    times: int, server: ForkServerContext, source: Path, tmp_path: Path
) -> None:
    extend(source, tmp_path / "meant", copy=True)
    meant, before = contents(tmp_path / "meant"), digest(source)
    timed, begun = Child.start(server, source, tmp_path / "timed", copy=True), time.monotonic()
    timed.let_go()
    steps = timed.ended()
    assert isinstance(steps, int), steps
    whole = time.monotonic() - begun
    out, chance, half_done = tmp_path / "out", random.Random(0), 0
    for number in range(times):
        by_itself = number % 2 == 0  # before a random step of its work; else from outside, after a random time
        last = chance.randint(1, steps) if by_itself else 0
        child = Child.start(server, source, out, last, copy=True, force=True)
        child.let_go()
        if not by_itself:
            time.sleep(chance.uniform(0, whole))
            child.process.kill()
        assert child.ended() is None or not by_itself
        half_done += (tmp_path / LEFT_OVER).exists()
        assert not out.exists() or contents(out) == meant
        assert digest(source) == before
        if number % 4 < 2:
            shutil.rmtree(out, ignore_errors=True)  # else the next one replaces it
    assert half_done >= times / 4, "hardly a process was killed at work: the test shows nothing"
    extend(source, out, force=True)
    assert contents(out) == meant
    assert not (tmp_path / LEFT_OVER).exists()


def test_of_two_processes_one_wins_and_the_other_says_why(
    server: ForkServerContext, source: Path, tmp_path: Path
) -> None:
    told = []
    for number in range(4):
        out = tmp_path / f"out-{number}"
        children = [Child.start(server, source, out, copy=True) for _ in range(2)]
        for child in children:
            child.let_go()
        complaints = [said for child in children if isinstance(said := child.ended(), str)]
        assert len(complaints) == 1, complaints
        told += complaints
        assert set(contents(out)) > set(NAMES)
    assert all("another process is writing" in one or "exists: choose another name" in one for one in told), told


def test_a_folder_that_is_being_written_is_refused(source: Path, tmp_path: Path) -> None:
    with published(tmp_path / "out", force=False) as new:
        new.mkdir()
        with pytest.raises(ValueError, match="another process is writing"):
            extend(source, tmp_path / "out")
    assert (tmp_path / "out").is_dir()


def test_what_a_killed_process_left_is_cleared_away_by_the_next(source: Path, tmp_path: Path) -> None:
    left = tmp_path / LEFT_OVER
    (left / "new" / "deep").mkdir(parents=True)
    (left / "new" / "deep" / "half.safetensors").write_bytes(b"half")
    (left / "lock").touch()
    extend(source, tmp_path / "out")
    assert not left.exists()
    assert "deep/half.safetensors" not in contents(tmp_path / "out")


def test_what_was_being_replaced_comes_back_where_its_replacement_never_came(source: Path, tmp_path: Path) -> None:
    extend(source, tmp_path / "out")
    old = contents(tmp_path / "out")
    (tmp_path / LEFT_OVER).mkdir()
    (tmp_path / "out").rename(tmp_path / LEFT_OVER / "old")  # killed between the two renames
    with pytest.raises(ValueError, match="exists: choose another name"):
        extend(source, tmp_path / "out")
    assert contents(tmp_path / "out") == old


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device"), MemoryError()])
def test_an_exception_leaves_nothing(error: BaseException, source: Path, tmp_path: Path) -> None:
    def half(out: Path) -> None:
        with published(out, force=False) as new:
            new.mkdir()
            (new / "half").write_text("half")
            raise error

    with pytest.raises(type(error)):
        half(tmp_path / "out")
    assert os.listdir(tmp_path) == ["source"]


def test_a_full_disk_leaves_nothing(server: ForkServerContext, source: Path, tmp_path: Path) -> None:
    child = Child.start(server, source, tmp_path / "out", limit=2**19, copy=True)  # less than one shard
    child.let_go()
    assert "File too large" in str(child.ended())
    assert os.listdir(tmp_path) == ["source"]


def test_a_place_that_cannot_be_written_is_told(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, *given: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "mkdir", refuse)  # root may write anywhere, so a mode would prove nothing
    with pytest.raises(OSError, match=f"cannot write into {tmp_path}: Permission denied"):
        extend(source, tmp_path / "out")
    assert os.listdir(tmp_path) == ["source"]


def test_a_folder_that_is_there_is_kept(source: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("years of work")
    with pytest.raises(ValueError, match="exists: choose another name, or pass --force"):
        extend(source, tmp_path / "out")
    with pytest.raises(ValueError, match="was not written by rope-scaling extend"):
        extend(source, tmp_path / "out", force=True)
    assert contents(tmp_path / "out") == {"thesis.txt": b"years of work"}


def test_force_replaces_what_extend_wrote(source: Path, tmp_path: Path) -> None:
    extend(source, tmp_path / "out")
    (tmp_path / "out" / "stale.txt").write_text("stale")
    extend(source, tmp_path / "out", force=True)
    assert "stale.txt" not in contents(tmp_path / "out")


def test_a_link_is_never_replaced(source: Path, tmp_path: Path) -> None:
    extend(source, tmp_path / "real")
    (tmp_path / "out").symlink_to(tmp_path / "real")
    with pytest.raises(ValueError, match="--force does not replace it"):
        extend(source, tmp_path / "out", force=True)
    assert (tmp_path / "out").is_symlink()


@pytest.mark.parametrize("place", ["source/inside", "source", "."])
def test_the_source_and_what_holds_it_are_no_place_to_write(place: str, source: Path, tmp_path: Path) -> None:
    before = digest(tmp_path)
    with pytest.raises(ValueError, match=r"lies in the checkpoint|holds the checkpoint"):
        extend(source, tmp_path / place, force=True)
    assert digest(tmp_path) == before


def test_a_place_without_a_folder_is_told(source: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="make it first"):
        extend(source, tmp_path / "nowhere" / "out")


def test_an_entry_knows_weights_by_name_and_by_size() -> None:
    small, large = Entry("model.safetensors", Path(), 10), Entry("blob", Path(), 2**30)
    assert small.is_weights
    assert large.is_weights
    assert not Entry("tokenizer.json", Path(), 2**20).is_weights
