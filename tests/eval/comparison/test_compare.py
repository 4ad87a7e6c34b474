import json
from pathlib import Path
from typing import Any

import pytest
from scipy import stats
from typer.testing import CliRunner, Result

from rope_scaling.cli import app
from rope_scaling.eval.stats import holm
from tests.eval.report.records import NATS, answers, base, keys, nats, record, row, shifted, task, tasked, written

TASKS = ("rows", "text", "window", "block", "passkey")


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["compare", *map(str, arguments)])


def asked(folder: Path, name: str, **tasks: Any) -> Path:
    value = {key: one for key, one in record().items() if key not in TASKS} | {"format": 3, "tasks": tasks}
    return written(folder, value, name)


def read_text(folder: Path, name: str, shift: float, **changes: Any) -> Path:
    plain = base()
    rows = [row("x:factor=4", shifted(plain, shift, shift), 2048, plain), row("window", plain, None, plain)]
    value = {key: one for key, one in record(rows=rows).items() if key != "passkey"}
    return written(folder, value | changes, name)


def rows(*arguments: object) -> list[dict[str, Any]]:
    done = call(*arguments, "--json")
    assert done.exit_code in (0, 1), done.output
    found: list[dict[str, Any]] = json.loads(done.stdout)["rows"]
    return found


def test_questions_are_paired_and_tested_exactly_at_each_length(tmp_path: Path) -> None:
    first = asked(tmp_path, "a.json", t=task({"x": answers({512: 20, 1024: 3})}))
    second = asked(tmp_path, "b.json", t=task({"x": answers({512: 18, 1024: 15})}))
    found = {one["place"]: one for one in rows(first, second)}
    assert [(one["a"], one["b"], one["pairs"]) for one in found.values()] == [(1.0, 0.9, 20), (0.15, 0.75, 20)]
    for place, discordant in (("512", 2), ("1k", 12)):
        assert found[place]["p_value"] == pytest.approx(stats.binomtest(discordant, discordant).pvalue)
    assert [one["p_value_holm"] for one in found.values()] == pytest.approx(holm([0.5, 2 / 2**12]))
    assert [one["b_is"] for one in found.values()] == ["undecided", "better"]
    assert found["1k"]["difference"]["low"] > 0


def test_the_other_way_round_it_is_worse_and_the_exit_code_says_so(tmp_path: Path) -> None:
    first = asked(tmp_path, "a.json", t=task({"x": answers({1024: 3})}))
    second = asked(tmp_path, "b.json", t=task({"x": answers({1024: 15})}))
    assert call(first, second).exit_code == 0
    assert call(second, first).exit_code == 1
    there, back = rows(first, second)[0]["difference"], rows(second, first)[0]["difference"]
    assert (back["mean"], back["low"], back["high"]) == pytest.approx((-there["mean"], -there["high"], -there["low"]))


def test_few_questions_of_many_tasks_are_compared_together(tmp_path: Path) -> None:
    def run(name: str, right: int) -> Path:
        each = {f"t{number}": task({"x": answers({1024: right, 2048: 1}, 1)}) for number in range(10)}
        choice = task({"x": answers({1024: 1}, 1)}, chance=0.25)
        return asked(tmp_path, name, **each, lonely=task({"x": answers({512: 1}, 1)}), c_mc=choice)

    found = [one for one in rows(run("a.json", 0), run("b.json", 1)) if "together" in one["what"]]
    assert found == []  # no length is that of all tasks
    shared = {f"t{number}": task({"x": answers({1024: 0}, 1)}) for number in range(10)}
    better = {name: task({"x": answers({1024: 1}, 1)}) for name in shared}
    told = rows(asked(tmp_path, "c.json", **shared), asked(tmp_path, "d.json", **better))
    assert {one["b_is"] for one in told[:-1]} == {"undecided"}
    assert (told[-1]["what"], told[-1]["pairs"], told[-1]["b_is"]) == ("10 tasks together", 10, "better")
    assert told[-1]["p_value"] == pytest.approx(2 / 2**10)


def test_a_run_is_compared_with_itself_under_two_schemes(tmp_path: Path) -> None:
    run = written(tmp_path, tasked())
    found = rows(run, run, "--scheme-a", "none", "--scheme-b", "good:factor=4")
    told = {(one["what"], one["place"]): one["b_is"] for one in found}
    assert told["rope_niah_single", "1k"] == "better"
    assert told["perplexity", "0-256"] == "worse"
    assert told["perplexity", "1k-2k"] == "better"
    assert call(run, run).exit_code == 2
    assert "compared with itself" in call(run, run).output


def test_a_text_is_compared_block_by_block(tmp_path: Path) -> None:
    found = rows(read_text(tmp_path, "a.json", 0.0), read_text(tmp_path, "b.json", 0.02))
    assert [one["place"] for one in found] == ["0-256", "256-512", "512-1k", "1k-2k"]
    assert [one["pairs"] for one in found] == [16, 16, 32, 64]
    for one in found:
        assert one["difference"]["low"] < 0.02 < one["difference"]["high"] or one["difference"]["mean"] > 0
        assert one["difference"]["mean"] == pytest.approx(0.02, abs=0.006)
        assert one["b"] - one["a"] == pytest.approx(one["difference"]["mean"])
        assert one["b_is"] == "worse"


def test_texts_in_nats_are_compared_by_blocks_of_the_answers(tmp_path: Path) -> None:
    first = asked(tmp_path, "a.json", p=task({"x": nats(3.0)}, **NATS))
    second = asked(tmp_path, "b.json", p=task({"x": nats(2.9)}, **NATS))
    one = rows(first, second)[0]
    assert (one["unit"], one["pairs"], one["b_is"]) == ("nats per token", 3, "better")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"text": {"name": "other.txt", "sha256": "1" * 64, "texts": 4, "tokens": 2048}}, "other texts"),
        ({"checkpoint": {**record()["checkpoint"], "name": "other"}}, "do not tell whether both checkpoints"),
    ],
)
def test_another_text_and_perhaps_other_tokens_are_not_paired(tmp_path: Path, change: Any, told: str) -> None:
    done = call(read_text(tmp_path, "a.json", 0.0), read_text(tmp_path, "b.json", 0.1, **change))
    assert done.exit_code == 2
    assert told in done.output


@pytest.mark.parametrize(("other", "code"), [("same", 1), ("other", 2)])
def test_checkpoints_that_say_their_tokens_are_paired_by_them(tmp_path: Path, other: str, code: int) -> None:
    text = record()["text"]
    checkpoint = {**record()["checkpoint"], "name": "another"}
    first = read_text(tmp_path, "a.json", 0.0, text={**text, "token_ids_sha256": "same"})
    second = read_text(tmp_path, "b.json", 0.1, text={**text, "token_ids_sha256": other}, checkpoint=checkpoint)
    assert call(first, second).exit_code == code


def test_questions_that_only_one_run_has_are_left_out_and_told(tmp_path: Path) -> None:
    first = asked(tmp_path, "a.json", t=task({"x": answers({512: 12}, 12)}))
    second = asked(tmp_path, "b.json", t=task({"x": answers({512: 20}, 20)}), u=task({"x": answers({512: 1})}))
    done = call(first, second)
    assert "left out: 8 questions of t at 512, only in run B" in done.output
    assert "not paired: u: only in run B" in done.output
    assert (rows(first, second)[0]["pairs"], rows(first, second)[0]["left_out_b"]) == (12, 8)


def test_runs_without_a_question_in_common_are_refused(tmp_path: Path) -> None:
    other = answers({512: 5})
    for one in other["answers"]:
        one["key"] += "of another seed"
    first = asked(tmp_path, "a.json", t=task({"x": answers({512: 5})}))
    done = call(first, asked(tmp_path, "b.json", t=task({"x": other})))
    assert done.exit_code == 2
    assert "nothing in these runs can be paired: t, x and x: shares no question" in done.output


def test_passkeys_of_format_2_are_told_not_to_pair(tmp_path: Path) -> None:
    first = read_text(tmp_path, "a.json", 0.0, passkey={"x:factor=4": keys({512: 1})})
    assert (
        "not paired: passkeys: a record holds how many were found"
        in call(first, read_text(tmp_path, "b.json", 0)).output
    )


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--scheme-a", "yran"], "run A has no scheme 'yran': did you mean 'yarn'?"),
        (["--scheme-a", "yarn"], "run B has no scheme 'yarn' but several others: say which by --scheme-b"),
        ([], "no scheme is in both runs (A: none, yarn; B: ntk, linear)"),
    ],
)
def test_schemes_that_do_not_match_are_told(tmp_path: Path, options: list[str], told: str) -> None:
    one = answers({512: 1})
    first = asked(tmp_path, "a.json", t=task({"none": one, "yarn": one}))
    second = asked(tmp_path, "b.json", t=task({"ntk": one, "linear": one}))
    done = call(first, second, *options)
    assert done.exit_code == 2
    assert told in " ".join(done.output.split())


def test_one_scheme_against_the_only_other(tmp_path: Path) -> None:
    first = asked(tmp_path, "a.json", t=task({"none": answers({512: 1}), "yarn": answers({512: 1})}))
    second = asked(tmp_path, "b.json", t=task({"ntk": answers({512: 9})}))
    one = rows(first, second, "--scheme-a", "yarn")[0]
    assert (one["scheme_a"], one["scheme_b"]) == ("yarn", "ntk")


def test_partial_credit_of_few_questions_is_told_to_be_too_little(tmp_path: Path) -> None:
    half = answers({512: 0}, 4)
    for one in (*half["answers"], *half["cells"]):
        one["score"] = 0.5
    first = asked(tmp_path, "a.json", t=task({"x": half}))
    second = asked(tmp_path, "b.json", t=task({"x": answers({512: 4}, 4)}))
    one = rows(first, second)[0]
    assert (one["difference"], one["p_value_holm"], one["b_is"]) == (None, None, "undecided")
    assert "too few pairs" in call(first, second).output


def test_a_folder_of_a_run_is_read_and_a_broken_record_refused(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    written(tmp_path / "run", tasked())
    other = written(tmp_path, tasked(), "b.json")
    assert len(rows(tmp_path / "run", other)) == len(rows(other, tmp_path / "run")) > 0
    (tmp_path / "run" / "run.json").write_text("{")
    assert call(tmp_path / "run", other).exit_code == 2


def test_the_table_fits_a_terminal_of_eighty_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    names = {"rope_niah_multikey_needles_mc": task({"x": answers({512: 20})})}
    done = call(asked(tmp_path, "a.json", **names), asked(tmp_path, "b.json", **names))
    assert "…" not in done.output
