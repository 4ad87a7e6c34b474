import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rope_scaling.eval.report.commands import checkpoint_name, command
from rope_scaling.eval.report.job import ReportJob, run_report
from rope_scaling.eval.report.record import read_record
from tests.eval.report.records import record, tasked, written


def changed(change: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    value = copy.deepcopy(record())
    change(value)
    return value


def test_a_record_is_read_whole(tmp_path: Path) -> None:
    read = read_record(written(tmp_path, record()))
    assert [row.scheme for row in read.rows] == ["none", "good:factor=4", "bad:factor=4", "same:factor=2", "window"]
    assert (read.length, read.block, read.stride) == (512, 64, 64)
    assert [one.label for one in read.rows[0].ranges] == ["0-256", "256-512", "512-1k", "1k-2k"]
    assert [(len(row.block_nll), len(row.block_nll[0])) for row in read.rows] == [(4, 32)] * 5
    assert [(one.scheme, len(one.cells)) for one in read.keys] == [("none", 4), ("good:factor=4", 4)]


def test_tasks_are_read_whole(tmp_path: Path) -> None:
    read = {task.name: task for task in read_record(written(tmp_path, tasked())).tasks}
    assert list(read) == ["rope_niah_single", "rope_vt_mc", "rope_ppl"]
    assert [(one.threshold, one.chance) for one in read.values()] == [("needle", None), ("ruler", 0.25), (None, None)]
    assert [one.has_depth for one in read.values()] == [True, False, False]
    first, other = read["rope_niah_single"].schemes
    assert (first.scheme, len(first.answers), len(first.scores)) == ("none", 40, 4)
    assert [answer.key for answer in first.answers] == [answer.key for answer in other.answers]
    assert read["rope_ppl"].schemes[0].answers[0].blocks[:1] != ()
    assert (first.answers[0].depth, read["rope_vt_mc"].schemes[0].answers[0].depth) == (0.0, None)


def test_the_folder_of_a_run_is_read_by_its_record(tmp_path: Path) -> None:
    written(tmp_path, tasked())
    assert read_record(tmp_path) == read_record(tmp_path / "run.json")


def test_every_command_that_added_to_a_run_is_told(tmp_path: Path) -> None:
    commands = [["/bin/rope-scaling", "eval", "a b"], ["rope-scaling", "eval", "c"]]
    read = read_record(written(tmp_path, tasked(commands=commands)))
    assert command(read) == "rope-scaling eval 'a b'\nrope-scaling eval c"


def asked(value: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = value["tasks"]["rope_niah_single"]["schemes"]["none"]
    return found


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda v: v.update(tasks={}), "tasks is empty"),
        (lambda v: v["tasks"]["rope_vt_mc"].update(threshold="ruller"), "'ruller', which is none of ruler, needle"),
        (lambda v: v["tasks"]["rope_vt_mc"].update(higher_is_better=1), "neither true nor false"),
        (lambda v: v["tasks"]["rope_vt_mc"].update(chance=2), "not from 0 to 1"),
        (lambda v: v["tasks"]["rope_vt_mc"].update(schemes={}), "tasks.rope_vt_mc.schemes is empty"),
        (lambda v: asked(v)["answers"][1].update(asked(v)["answers"][0]), "two answers to one question"),
        (
            lambda v: asked(v)["answers"][0].update(score=1.5),
            r"answers\[0\] has 'score' = 1.5, which is not from 0 to 1",
        ),
        (lambda v: asked(v)["answers"][0].update(got=None), "'got' = None, which is no text"),
        (lambda v: asked(v)["answers"][0].pop("key"), "has no 'key'"),
        (lambda v: asked(v)["cells"][0].update(samples=0), "no count from 1 up"),
        (
            lambda v: asked(v)["cells"][0].update(score=0.2),
            "answers at 512 tokens, depth 0, that its cells do not count",
        ),
        (lambda v: asked(v)["answers"].pop(), "answers at 1024 tokens, depth 1, that its cells do not count"),
        (
            lambda v: v["tasks"]["rope_ppl"]["schemes"]["none"]["answers"][0].update(score=1e4),
            "nothing can have scored",
        ),
        (lambda v: v.update(commands=["x"]), "'commands' that is no list of lists"),
    ],
)
def test_a_broken_task_is_refused_with_its_place(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], told: str
) -> None:
    value = copy.deepcopy(tasked())
    change(value)
    with pytest.raises(ValueError, match=f"run.json is a broken record: .*{told}"):
        read_record(written(tmp_path, value))


def test_half_a_character_is_replaced(tmp_path: Path) -> None:
    value = copy.deepcopy(tasked())
    asked(value)["answers"][0]["got"] = "a\ud83d"
    assert read_record(written(tmp_path, value)).tasks[0].schemes[0].answers[0].got == "a\ufffd"


def test_a_record_of_passkeys_alone_is_read(tmp_path: Path) -> None:
    value = {key: one for key, one in record().items() if key not in ("text", "lengths", "window", "block", "rows")}
    assert read_record(written(tmp_path, value)).rows == ()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "is not JSON"),
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "is no record of an evaluation"),
        ('{"kind": "rope-scaling plot"}', "is no record of an evaluation"),
        ('{"kind": "rope-scaling eval"}', "format None.* run its command again"),
        (
            '{"kind": "rope-scaling eval", "format": 1}',
            "of format 1, this version reads 2 and 3: run its command again",
        ),
        ('{"kind": "rope-scaling eval", "format": 4}', "of format 4, .* install the rope-scaling that wrote it"),
        ('{"kind": "rope-scaling eval", "format": true}', "of format True"),
    ],
)
def test_what_is_no_record_is_refused(tmp_path: Path, content: str, told: str) -> None:
    path = tmp_path / "run.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=told):
        read_record(path)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="is not JSON"):
        read_record(tmp_path / "run.json")


def test_a_folder_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is a folder"):
        read_record(tmp_path)
    with pytest.raises(ValueError, match=r"no record .*gone\.json"):
        read_record(tmp_path / "gone.json")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda v: v.pop("rows"), None),
        (lambda v: (v.pop("rows"), v.pop("passkey")), "holds neither 'rows' nor 'passkey'"),
        (lambda v: v.update(rows=[]), "'rows' that is no list of at least one"),
        (lambda v: v["rows"].append(v["rows"][0]), "two rows of one scheme"),
        (lambda v: v["rows"][2].pop("bins"), r"rows\[2\] has no 'bins'"),
        (lambda v: v["rows"][1]["bins"][0].update(stop=300), "other ranges for 'good:factor=4' than for 'none'"),
        (lambda v: [row["bins"][1].update(start=300) for row in v["rows"]], "do not follow one another"),
        (lambda v: v["rows"][1]["block_nll"].pop(), "'block_nll' of 'good:factor=4'"),
        (lambda v: [row["block_nll"][0].pop() for row in v["rows"]], "'block_nll' of 'none'"),
        (lambda v: v.update(block=32), "'block_nll' of 'none' that its ranges do not explain"),
        (lambda v: v["rows"][0]["block_nll"].__setitem__(0, 4.0), "no list of lists"),
        (lambda v: v["rows"][0]["block_nll"][0].__setitem__(0, "4"), "which is no number"),
        (lambda v: v["rows"][0]["block_nll"][0].__setitem__(0, float("nan")), "no finite number"),
        (lambda v: v["rows"][0]["block_nll"][0].__setitem__(0, 10**400), "no finite number"),
        (lambda v: v["rows"][0]["block_nll"][0].__setitem__(0, 1e5), "nothing can have scored"),
        (lambda v: v["rows"][0].update(scheme=None), "which is no text"),
        (lambda v: v["rows"][0].update(max_length=True), "no count"),
        (lambda v: v["checkpoint"].update(original_max_position_embeddings=0), "no count from 1 up"),
        (lambda v: v.update(passkey={}), "passkey is empty"),
        (lambda v: v["passkey"]["none"]["cells"][0].update(accuracy=1.5), "not from 0 to 1"),
        (lambda v: v["passkey"]["none"]["cells"][0].update(samples=0), "no count from 1 up"),
        (lambda v: v["passkey"].update(none=[]), "passkey.none is no object"),
        (lambda v: v.update(command="rope-scaling eval"), "'command' that is no list"),
    ],
)
def test_a_broken_record_is_refused_with_its_place(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], told: str | None
) -> None:
    path = written(tmp_path, changed(change))
    if told is None:  # what it lost belongs to a text, which a record need not have
        assert read_record(path).rows == ()
        return
    with pytest.raises(ValueError, match=f"run.json is a broken record: .*{told}"):
        read_record(path)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_value_in_any_place_is_reported_or_refused_in_words(tmp_path: Path, data: st.DataObject) -> None:
    value = copy.deepcopy(tasked())
    at: Any = value
    while True:
        key = data.draw(st.sampled_from(sorted(at) if isinstance(at, dict) else range(min(len(at), 3))))
        if not isinstance(at[key], (dict, list)) or not at[key] or data.draw(st.booleans()):
            break
        at = at[key]
    at[key] = data.draw(st.sampled_from([None, True, -1, 0, 1, 7, 1e308, 10**400, "", "x", [], [1], {}, {"a": 1}]))
    told = "run.json"
    try:
        run_report(ReportJob(written(tmp_path, value), summary=tmp_path / "run.md", force=True))
    except ValueError as error:
        told = str(error)
    assert "run.json" in told


def test_a_folder_is_told_by_its_last_part_and_a_hub_name_whole(tmp_path: Path) -> None:
    def name(of: str) -> str:
        return checkpoint_name(read_record(written(tmp_path, changed(lambda v: v["checkpoint"].update(name=of)))))

    assert name("/home/me/models/tiny/") == "tiny"
    assert name("C:\\models\\tiny") == "tiny"
    assert name("./tiny") == "tiny"
    assert name("HuggingFaceTB/SmolLM2-135M") == "HuggingFaceTB/SmolLM2-135M"


def test_the_command_can_be_pasted_into_a_shell(tmp_path: Path) -> None:
    import shlex

    read = read_record(written(tmp_path, record()))
    assert shlex.split(command(read)) == ["rope-scaling", *json.loads(json.dumps(record()))["command"][1:]]
