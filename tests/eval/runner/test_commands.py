from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rope_scaling.eval.embedded import EMBEDDED
from rope_scaling.eval.lm import RopeHFLM
from rope_scaling.eval.report.record import read_record
from tests.eval.runner.calls import SCHEMES, TASKS, call, forbid_computing, record
from tests.eval.tiny import tiny_checkpoint


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_tasks_are_asked_and_told_on_the_terminal_and_in_a_record(checkpoint: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    done = call(checkpoint, run, *TASKS, *SCHEMES)
    assert done.exit_code == 0, done.output
    for told in ("rope_passkey_mc", "25 % by chance", "ntk:factor=32", "640", "sees", "rope_ppl: nats per token"):
        assert told in done.stdout
    assert "Warning" not in done.stderr
    tasks = record(run)["tasks"]
    assert list(tasks) == ["rope_passkey_mc", "rope_ppl"]
    for task in tasks.values():
        keys = [[one["key"] for one in scheme["answers"]] for scheme in task["schemes"].values()]
        assert keys[0] == keys[1]
        assert all(scheme["truncated_requests"] == {} for scheme in task["schemes"].values())
        assert all(scheme["seconds"] > 0 for scheme in task["schemes"].values())
    assert [cell["samples"] for cell in tasks["rope_passkey_mc"]["schemes"]["none"]["cells"]] == [2] * 4
    assert {task.name for task in read_record(run).tasks} == set(tasks)  # the report reads it


def test_a_folder_and_a_file_hold_the_same(checkpoint: Path, tmp_path: Path) -> None:
    for output in (tmp_path / "folder", tmp_path / "file.json"):
        assert call(checkpoint, output, *TASKS).exit_code == 0
    folder, file = (record(tmp_path / name)["tasks"]["rope_ppl"]["schemes"]["none"] for name in ("folder", "file.json"))
    assert folder["answers"] == file["answers"]
    assert (tmp_path / "file.answers" / "answers-0.jsonl").is_file()


def test_a_command_that_is_given_again_computes_nothing(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = ("--text", EMBEDDED["macbeth"], "--texts", 3, "--batch-size", 2, "--passkey", "400", "--stride", 16)
    schemes = ("--scheme", "none", "--scheme", "dynamic-yarn:factor=32")
    asked = ("--tasks", "rope_ppl", "--lengths", "32,400", "--samples", "2")
    first = call(checkpoint, tmp_path / "run", *asked, *text, *schemes)
    assert first.exit_code == 0, first.output
    before = record(tmp_path / "run")
    forbid_computing(monkeypatch)
    again = call(checkpoint, tmp_path / "run", *asked, *text, *schemes)
    assert again.exit_code == 0, again.output
    assert again.stdout == first.stdout
    after = record(tmp_path / "run")
    for changed in ("peak_rss_bytes", "command", "commands"):
        before.pop(changed), after.pop(changed)
    assert after == before


def test_another_command_adds_schemes_lengths_and_tasks(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, text = tmp_path / "run", ("--text", EMBEDDED["macbeth"], "--lengths", "32,400")
    assert call(checkpoint, run, *TASKS, "--scheme", "none").exit_code == 0
    assert call(checkpoint, run, *text, *SCHEMES[:2]).exit_code == 0
    more = call(checkpoint, run, "--tasks", "rope_ppl", "--lengths", "400,640", "--samples", "3", *SCHEMES[2:])
    assert more.exit_code == 0, more.output
    assert call(checkpoint, run, *text, *SCHEMES[2:], "--no-window").exit_code == 0
    added = record(run)
    schemes = added["tasks"]["rope_ppl"]["schemes"]
    assert [len(schemes[name]["answers"]) for name in ("none", "ntk:factor=32")] == [4, 6]
    assert list(added["tasks"]["rope_passkey_mc"]["schemes"]) == ["none"]
    assert [row["scheme"] for row in added["rows"]] == ["none", "ntk:factor=32", "window"]
    assert added["rows"][1]["versus_window"] is not None  # judged against the window of the command before
    forbid_computing(monkeypatch)
    assert call(checkpoint, run, *TASKS, "--scheme", "none").exit_code == 0


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("--dtype", "bfloat16"), "holds another --dtype: float32, this is bfloat16"),
        (("--seed", "1"), "rope_passkey_mc with {'seed': 0}, this asks it with {'seed': 1}"),
        (("--original-max-length", "16"), "holds another trained length: 32, this is 16"),
    ],
)
def test_a_contradicting_command_is_refused_and_changes_nothing(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: tuple[str, str], told: str
) -> None:
    run = tmp_path / "run"
    assert call(checkpoint, run, *TASKS).exit_code == 0
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    forbid_computing(monkeypatch)
    done = call(checkpoint, run, *TASKS, *change)
    assert (done.exit_code, done.stdout.strip()) == (1, "")
    assert told in " ".join(done.stderr.split())
    assert "choose another --output, or start this one over with --force" in " ".join(done.stderr.split())
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before


def test_other_weights_in_the_same_folder_are_refused(tmp_path: Path) -> None:
    folder = tiny_checkpoint(tmp_path / "checkpoint")
    assert call(folder, tmp_path / "run", *TASKS).exit_code == 0
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"] += 0.5
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    done = call(folder, tmp_path / "run", *TASKS)
    assert done.exit_code == 1
    assert "another checkpoint, or other weights of the same name" in " ".join(done.stderr.split())
    assert call(folder, tmp_path / "run", *TASKS, "--force").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--tasks", "rope_vt"), "--tasks needs --lengths"),
        (("--tasks", "rope_tv", "--lengths", "400"), "did you mean 'rope_vt'"),
        (("--tasks", "rope_vt", "--lengths", "400", "--depths", "half"), "cannot read --depths 'half'"),
        (("--tasks", "rope_vt", "--lengths", "400", "--metadata", "{"), "--metadata is no JSON"),
        (("--tasks", "rope_vt", "--lengths", "400", "--metadata", "[]"), "--metadata must be a JSON object"),
        (("--tasks", "rope_niah_single,rope_cwe", "--lengths", "640"), "rope_cwe: a prompt of 640 tokens is too short"),
        (("--tasks", "rope_ppl_window", "--lengths", "640"), "needs the length that the checkpoint was trained to"),
    ],
)
def test_what_cannot_be_asked_is_told_before_anything_is_computed(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], told: str
) -> None:
    forbid_computing(monkeypatch)
    done = call(checkpoint, tmp_path / "run", *arguments)
    assert done.exit_code == 1
    assert told in " ".join(done.stderr.split())
    assert "Traceback" not in done.output
    assert not (tmp_path / "run" / "run.json").exists()


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Ctrl-C as at a terminal: what a shell starts in the background ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_says_how_to_go_on_and_loses_nothing(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, compute, units = tmp_path / "run", RopeHFLM.loglikelihood, 0

    def interrupted(*arguments: Any, **options: Any) -> Any:
        nonlocal units
        units += 1
        if units == 3:
            signal.raise_signal(signal.SIGINT)
        return compute(*arguments, **options)

    monkeypatch.setattr(RopeHFLM, "loglikelihood", interrupted)
    done = call(checkpoint, run, *TASKS)
    assert (done.exit_code, done.stdout.strip()) == (130, "")
    told = f"stopped; every finished answer lies in {run}, and the same command goes on from there"
    assert told in done.stderr
    kept = [json.loads(line) for line in (run / "answers-0.jsonl").read_text().splitlines()]
    assert sum("answers" in line for line in kept) == 2
    assert call(checkpoint, run, *TASKS).exit_code == 0
    assert units == 3 + 2 + 2  # two units of passkeys for each length, one for each text


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_without_a_place_says_that_nothing_is_kept(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RopeHFLM, "loglikelihood", lambda *_, **__: signal.raise_signal(signal.SIGINT))
    done = call(checkpoint, None, *TASKS)
    assert done.exit_code == 130
    assert "stopped; nothing is kept without --output RUN" in done.stderr
