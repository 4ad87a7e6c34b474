"""A refused command says what to do and leaves nothing behind; so does one that is stopped before it computes."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from rope_scaling.eval import run as run_module
from rope_scaling.eval.embedded import EMBEDDED
from rope_scaling.eval.lm import RopeHFLM
from tests.eval.runner.calls import TASKS, call, forbid_computing, record, words

pytestmark = pytest.mark.usefixtures("kept_prompts")


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("output", ["run", "run.json"])
@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (
            ("--tasks", "rope_vt", "--lengths", "400", "--metadata", '{"colour": 1}'),
            "'colour' is for none of the tasks",
        ),
        (("--tasks", "rope_vt", "--lengths", "999999999k"), "beyond 16384k, more than any checkpoint is made for"),
        (("--tasks", "rope_cwe", "--lengths", "640"), "rope_cwe: a prompt of 640 tokens is too short"),
        (("--text", EMBEDDED["macbeth"], "--lengths", "400", "--texts", 10**6), "choose a longer text"),
        (("--text", EMBEDDED["macbeth"], "--lengths", "400", "--passkey", "40"), "question and answer alone take"),
        (("--text", "gone.txt", "--lengths", "400"), "no text file 'gone.txt'"),
    ],
)
def test_a_refused_command_leaves_nothing_behind(
    checkpoint: Path, tmp_path: Path, output: str, arguments: tuple[object, ...], told: str
) -> None:
    done = call(checkpoint, tmp_path / output, *arguments)
    assert (done.exit_code, done.stdout) == (1, "")
    assert told in words(done.stderr)
    assert not list(tmp_path.iterdir())


def test_a_text_that_no_memory_holds_is_refused_before_prompts_are_made(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rope_scaling.eval.runner.tasks.expected_tokens", lambda *_: pytest.fail("made prompts"))
    kinds: Any = {"total": 10**9}
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), kinds))
    monkeypatch.setattr(psutil, "swap_memory", lambda: type("Swap", (), {"total": 0}))
    done = call(checkpoint, tmp_path / "run", "--tasks", "rope_passkey", "--lengths", "16384k")
    # two layers, two heads of keys and values, 8 numbers of 4 bytes each
    assert "takes 4 GB of keys and values" in words(done.stderr)
    assert "has 1 GB of memory in all: ask for --lengths up to 3814k" in words(done.stderr)
    assert (done.exit_code, list(tmp_path.iterdir())) == (1, [])


def test_force_keeps_the_run_that_is_there_where_the_command_is_refused(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    assert call(checkpoint, run, *TASKS).exit_code == 0
    before = everything(run)
    refused = call(checkpoint, run, "--tasks", "rope_cwe", "--lengths", "640", "--force")
    assert refused.exit_code == 1
    assert everything(run) == before
    assert call(checkpoint, run, *TASKS, "--force").exit_code == 0
    assert len(record(run)["commands"]) == 1
    assert (run / "answers-0.jsonl").read_text().count('"identity"') == 1  # nothing of before


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Ctrl-C as at a terminal: what a shell starts in the background ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupted(*arguments: Any, **options: Any) -> Any:
    signal.raise_signal(signal.SIGINT)


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize("where", [(run_module, "load"), (RopeHFLM, "loglikelihood")])
def test_ctrl_c_before_the_first_answer_says_that_nothing_was_computed(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: tuple[Any, str]
) -> None:
    monkeypatch.setattr(*where, interrupted)
    done = call(checkpoint, tmp_path / "run", *TASKS)
    assert (done.exit_code, done.stdout.strip()) == (130, "")
    assert "stopped; nothing was computed yet, the same command begins again" in words(done.stderr)
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_under_force_says_what_became_of_the_run_that_was_there(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    assert call(checkpoint, run, *TASKS).exit_code == 0
    before, load = everything(run), run_module.load
    monkeypatch.setattr(run_module, "load", interrupted)
    done = call(checkpoint, run, *TASKS, "--force")
    assert f"stopped; nothing was computed yet, and the run in {run} is as it was" in words(done.stderr)
    assert everything(run) == before
    monkeypatch.setattr(run_module, "load", load)
    compute, units = RopeHFLM.loglikelihood, 0

    def third(*arguments: Any, **options: Any) -> Any:
        nonlocal units
        units += 1
        return interrupted() if units == 3 else compute(*arguments, **options)

    monkeypatch.setattr(RopeHFLM, "loglikelihood", third)
    done = call(checkpoint, run, *TASKS, "--force")
    assert f"every finished answer lies in {run}, and the same command without --force goes on" in words(done.stderr)


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_while_the_record_is_written_loses_nothing(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", _interrupting_a_record)
        done = call(checkpoint, run, *TASKS)
    assert done.exit_code == 130
    assert f"every finished answer lies in {run}" in words(done.stderr)
    assert [path.name for path in run.iterdir() if not path.name.startswith(".record.lock")] != []
    assert not (run / "run.json").exists()
    assert not list(run.glob(".run.json-*"))
    with monkeypatch.context() as patch:
        kept = (run / "answers-0.jsonl").read_text().splitlines()
        assert call(checkpoint, run, *TASKS).exit_code == 0
        assert (run / "answers-0.jsonl").read_text().splitlines()[: len(kept)] == kept
    forbid_computing(monkeypatch)
    assert call(checkpoint, run, *TASKS).exit_code == 0


def _interrupting_a_record(handle: int) -> None:
    """Ctrl-C at the moment when the record's bytes are to reach the disk."""
    if Path(f"/proc/self/fd/{handle}").resolve().name == "run.json":
        signal.raise_signal(signal.SIGINT)
