import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from rope_scaling.cli import app
from rope_scaling.eval.report.job import ReportJob, run_report
from rope_scaling.eval.report.record import read_record
from tests.eval.report.records import record, written
from tests.eval.tiny import TRAINED, tiny_checkpoint


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_what_eval_writes_report_reads(tmp_path: Path) -> None:
    checkpoint, text, run = tiny_checkpoint(tmp_path / "checkpoint"), tmp_path / "text.txt", tmp_path / "run.json"
    text.write_text("".join(chr(97 + i * i % 26) for i in range(1500)))
    schemes = ("--scheme", "none", "--scheme", "linear:factor=2", "--passkey", 320, "--texts", 2)
    done = call(
        "eval", checkpoint, "--text", text, "--lengths", f"16,{TRAINED},704", "--stride", 16, *schemes, "-o", run
    )
    assert done.exit_code == 0, done.output
    assert call("report", run, "--markdown", tmp_path / "card.md").output.splitlines() == [
        f"wrote {tmp_path / 'run.html'}",
        f"wrote {tmp_path / 'card.md'}",
    ]
    page, card = ((tmp_path / name).read_text(encoding="utf-8") for name in ("run.html", "card.md"))
    whole = json.loads(run.read_text())
    assert read_record(run).keys[0].cells[0].length == 320
    for row in whole["rows"]:
        assert f"<code>{row['scheme']}</code>" in page
        value = row["bins"][0]["perplexity"]
        assert (f"{value:.2f}" if value < 1000 else f"{value:.0f}") in card


def test_what_eval_asks_and_hears_report_shows_and_compare_pairs(tmp_path: Path) -> None:
    checkpoint, run = tiny_checkpoint(tmp_path / "checkpoint"), tmp_path / "run"
    schemes = ("--scheme", "none", "--scheme", "linear:factor=2")
    asked = ("--tasks", "rope_passkey_mc,rope_passkey", "--lengths", "400,640", "--depths", "0,1", "--samples", "2")
    done = call("eval", checkpoint, *asked, *schemes, "-o", run)
    assert done.exit_code == 0, done.output
    assert call("report", run).output.splitlines() == [f"wrote {run / 'run.html'}"]
    page = (run / "run.html").read_text(encoding="utf-8")
    shown = json.loads(page.split('id="questions">', 1)[1].split("</script>", 1)[0])
    told = json.loads((run / "run.json").read_text(encoding="utf-8"))["tasks"]
    assert [one["name"] for one in shown] == list(told) == ["rope_passkey_mc", "rope_passkey"]
    for one in shown:
        answers = [each["answers"] for each in told[one["name"]]["schemes"].values()]
        assert [list(got) for *_, got, _ in one["questions"]] == [
            [answer["got"] for answer in same] for same in zip(*answers, strict=True)
        ]
    done = call("compare", run, run, "--scheme-a", "none", "--scheme-b", "linear:factor=2", "--json")
    assert done.exit_code in (0, 1)
    rows = json.loads(done.stdout)["rows"]
    assert [(row["what"], row["place"], row["pairs"]) for row in rows] == [
        (name, length, 4) for name in told for length in ("400", "640")
    ]


def test_the_page_of_a_folder_lies_in_it(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    written(tmp_path / "run", record())
    assert run_report(ReportJob(tmp_path / "run")) == (tmp_path / "run" / "run.html",)


def test_nothing_is_written_where_something_stands(tmp_path: Path) -> None:
    run = written(tmp_path, record())
    (tmp_path / "card.md").write_text("mine")
    done = call("report", run, "--markdown", tmp_path / "card.md")
    assert (done.exit_code, "card.md exists" in done.output, "--force" in done.output) == (1, True, True)
    assert not (tmp_path / "run.html").exists()
    assert call("report", run, "--markdown", tmp_path / "card.md", "--force").exit_code == 0
    assert (tmp_path / "card.md").read_text().startswith("## Context extension")


def test_the_record_is_never_written_over(tmp_path: Path) -> None:
    run = written(tmp_path, record(), "run.html")
    before = run.read_bytes()
    done = call("report", run, "--force")
    assert (done.exit_code, "is the record itself" in done.output) == (1, True)
    assert run.read_bytes() == before


def test_a_broken_record_gives_one_line_and_no_page(tmp_path: Path) -> None:
    run = written(tmp_path, record(block=0))
    done = call("report", run)
    assert done.exit_code == 1
    assert done.output.startswith("Error: run.json is a broken record")
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


@pytest.mark.parametrize(("option", "name"), [("-o", "page.pdf"), ("--markdown", "card.txt")])
def test_another_kind_of_file_is_refused(tmp_path: Path, option: str, name: str) -> None:
    done = call("report", written(tmp_path, record()), option, tmp_path / name)
    assert done.exit_code == 1
    assert f"cannot write '{name}'" in done.output


def test_a_file_is_no_folder_for_images(tmp_path: Path) -> None:
    run = written(tmp_path, record())
    with pytest.raises(ValueError, match="is a file: name a folder"):
        run_report(ReportJob(run, images=run))
    assert not (tmp_path / "run.html").exists()


def test_the_page_goes_where_it_is_told_with_its_folders(tmp_path: Path) -> None:
    output = tmp_path / "a" / "b" / "page.html"
    assert run_report(ReportJob(written(tmp_path, record()), output)) == (output,)
    assert [path.name for path in output.parent.iterdir()] == ["page.html"]


@pytest.mark.parametrize("missing", ["plotly", "jinja2"])
def test_what_is_not_installed_is_named(tmp_path: Path, missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rope_scaling.eval.images.find_spec", lambda name: None if name == missing else object())
    monkeypatch.setattr("rope_scaling.eval.report.job.find_spec", lambda name: None if name == missing else object())
    done = call("report", written(tmp_path, record()))
    assert done.exit_code == 1
    assert missing in done.output
    assert "rope-scaling[report]" in done.output
