"""The evaluation kept as an example: its record still makes its summary, and the page about it tells the same."""

from __future__ import annotations

import re
from pathlib import Path

from rope_scaling.eval.report.job import ReportJob, run_report
from rope_scaling.eval.report.overall import means, overall
from rope_scaling.eval.report.record import read_record
from rope_scaling.eval.report.tasks import task_findings

DOCS = Path(__file__).parents[3] / "docs"
RECORD = DOCS / "example" / "run.json"


def test_the_record_makes_the_summary_that_lies_beside_it(tmp_path: Path) -> None:
    run_report(ReportJob(RECORD, tmp_path / "page.html", summary=tmp_path / "card.md"))
    assert (tmp_path / "card.md").read_text(encoding="utf-8") == (DOCS / "example/card.md").read_text(encoding="utf-8")


def test_the_page_tells_the_means_and_seconds_of_the_record() -> None:
    record, text = read_record(RECORD), (DOCS / "example.md").read_text(encoding="utf-8")
    whole = overall(record, task_findings(record))
    assert whole is not None
    for scheme, cells in means(whole).rows:
        (row,) = re.findall(rf"^\| `{re.escape(scheme)}` \| (.*) \|$", text, re.MULTILINE)
        assert row.split(" | ")[:2] == [cell.rstrip(" ✓✗?") for cell in cells[:2]]


def test_the_record_holds_every_task_under_every_scheme() -> None:
    record = read_record(RECORD)
    schemes = ["none", "ntk:factor=2", "yarn:factor=2", "dynamic-yarn:factor=2"]
    assert len(record.tasks) == 16
    for task in record.tasks:
        assert [asked.scheme for asked in task.schemes] == schemes
        assert task.lengths == [4096, 16384]
