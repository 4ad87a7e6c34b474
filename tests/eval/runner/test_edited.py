"""A run whose files were edited by hand, in any way that is still JSON: it goes on, or what is wrong is told."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rope_scaling.eval.embedded import EMBEDDED
from rope_scaling.eval.runner.earlier import check_earlier
from rope_scaling.eval.runner.entries import Entry
from rope_scaling.eval.runner.record import RunRecord
from rope_scaling.eval.runner.table import print_tasks
from rope_scaling.eval.store.place import Place
from tests.eval.runner.calls import SCHEMES, call, record, run, words

pytestmark = pytest.mark.usefixtures("kept_prompts")

ASKED = (
    *("--tasks", "rope_passkey_mc,rope_ppl", "--lengths", "400", "--depths", "0,1", "--samples", "1"),
    *("--text", EMBEDDED["macbeth"], "--passkey", "400", *SCHEMES[:2]),
)
VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 1, 7, 0.5, 1e308, 10**400, float("nan"), float("inf"), "", "x", "none", "yarn:factor=0"),
    *([], [1], [[1]], ["x"], {}, {"a": 1}, {"none": {}}, [{"key": "x"}]),
)
FREELY = settings(
    deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], derandomize=True
)


@pytest.fixture(scope="module")
def whole(checkpoint: Path, prompts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of everything that can be asked."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(prompts))
        done = call(checkpoint, folder, *ASKED)
    assert done.exit_code == 0, done.output
    return folder


def edited(value: Any, data: st.DataObject) -> None:
    """One value somewhere taken away, or put in another's place."""
    at = value
    while True:
        key = data.draw(st.sampled_from(sorted(at) if isinstance(at, dict) else range(min(len(at), 3))))
        if not isinstance(at[key], (dict, list)) or not at[key] or data.draw(st.integers(0, 3)) == 0:
            break
        at = at[key]
    if data.draw(st.integers(0, 3)) == 0:
        del at[key]
    else:
        at[key] = data.draw(st.sampled_from(VALUES))


def copied(whole: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(whole, folder)
    return folder


def went_on_or_told(result: Any, file: str, codes: tuple[int, ...] = (0, 1)) -> None:
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code in codes, result.output
    if result.exit_code == codes[-1]:
        assert file in result.output


@settings(FREELY, max_examples=120)
@given(data=st.data())
def test_a_record_that_was_edited_is_added_to_or_refused(whole: Path, tmp_path: Path, data: st.DataObject) -> None:
    folder = copied(whole, tmp_path)
    before, value = record(folder), record(folder)
    edited(value, data)
    place = Place.of(folder)
    place.record.write_text(json.dumps(value))
    head = {key: before[key] for key in ("kind", "format", "command", "commands", "versions", "checkpoint", "settings")}
    told = ""
    try:
        again = RunRecord(head, place, place.begin(force=False))
        _add_all(again, before)
        check_earlier(record(folder), place.record)  # what is written now is whole
    except ValueError as error:
        told = str(error)
    assert not told or "run.json" in told
    assert not told or any(way in told for way in ("restore", "another", "--force"))


def _add_all(again: RunRecord, before: dict[str, Any]) -> None:
    """What a command does that asks everything again."""
    for name, task in before["tasks"].items():
        meaning = {key: one for key, one in task.items() if key != "schemes"}
        again.refuse_other_task(name, meaning)
        again.refuse_other_ranges(name, [400]) if name == "rope_ppl" else None
        entries: dict[str, Entry] = copy.deepcopy(task["schemes"])
        again.add_entry(name, meaning, "none", entries["none"])
    again.refuse_other_passkeys((400,), 5)
    again.add_passkeys(before["passkey"])
    keys = ("text", "lengths", "window", "block", "rule", "rows")
    again.refuse_other_text(before)
    again.add_rows({key: before[key] for key in keys})
    from rich.console import Console

    print_tasks(Console(quiet=True), again.value["tasks"])


@settings(FREELY, max_examples=8)
@given(data=st.data())
def test_a_command_on_an_edited_record_ends_well_or_in_words(
    checkpoint: Path, whole: Path, tmp_path: Path, data: st.DataObject
) -> None:
    folder = copied(whole, tmp_path)
    value = record(folder)
    edited(value, data)
    (folder / "run.json").write_text(json.dumps(value))
    went_on_or_told(call(checkpoint, folder, *ASKED), "run.json")


@settings(FREELY, max_examples=60)
@given(data=st.data())
def test_edited_runs_are_compared_or_refused(whole: Path, tmp_path: Path, data: st.DataObject) -> None:
    folder = copied(whole, tmp_path)
    value = record(folder)
    edited(value, data)
    (folder / "run.json").write_text(json.dumps(value))
    if data.draw(st.booleans()):
        went_on_or_told(run("compare", folder, whole), "", (0, 1, 2))
    else:
        went_on_or_told(run("compare", whole, folder), "", (0, 1, 2))


@settings(FREELY, max_examples=14)
@given(data=st.data())
def test_edited_answers_are_used_computed_again_or_refused_with_file_and_line(
    checkpoint: Path, whole: Path, tmp_path: Path, data: st.DataObject
) -> None:
    folder = copied(whole, tmp_path)
    file = folder / "answers-0.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    edited(lines[data.draw(st.sampled_from([number for number, one in enumerate(lines) if "answers" in one]))], data)
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "run.json").unlink()
    went_on_or_told(call(checkpoint, folder, *ASKED), "answers-0.jsonl, line ")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda v: v.update(commands=None), "'commands' that is no list"),
        (
            lambda v: v["rows"][0].update(scheme="nkt"),
            r"rows[0] has 'scheme' = 'nkt' (unknown scheme 'nkt': did you mean",
        ),
        (lambda v: v.update(peak_rss_bytes=float("nan")), "'peak_rss_bytes' that is no finite number"),
        (lambda v: v.update(settings=[]), "settings is no object"),
        (lambda v: v["tasks"]["rope_ppl"].update(options=[]), "tasks.rope_ppl.options is no object"),
        (lambda v: v["tasks"]["rope_ppl"].update(chance=0.5), "holds rope_ppl with chance = 0.5, here it is None"),
        (
            lambda v: v["tasks"]["rope_ppl"]["schemes"]["none"]["answers"][0].update(index="x"),
            "tasks.rope_ppl.schemes.none.answers[0] has 'index' = 'x', which is no count",
        ),
        (lambda v: v["passkey"]["none"].update(accuracy=[]), "passkey.none has 'accuracy' that is no list"),
    ],
)
def test_what_is_wrong_with_a_record_is_told_with_its_place_and_remedy(
    checkpoint: Path, whole: Path, tmp_path: Path, change: Any, told: str
) -> None:
    folder = copied(whole, tmp_path)
    value = record(folder)
    change(value)
    (folder / "run.json").write_text(json.dumps(value))
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    done = call(checkpoint, folder, *ASKED)
    assert (done.exit_code, done.stdout) == (1, "")
    assert told in words(done.stderr)
    assert "restore the file, or remove it alone" in words(done.stderr) or "choose another --output" in words(
        done.stderr
    )
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
