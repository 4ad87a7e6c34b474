"""One page that opens from disk: text, tables, and Plotly with the charts inside of it."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import chain
from typing import Any

from rope_scaling.eval.bins import short
from rope_scaling.eval.report import tables, task_tables
from rope_scaling.eval.report.answers import agreement, questions
from rope_scaling.eval.report.charts import Chart, curve_charts
from rope_scaling.eval.report.commands import about, command, title
from rope_scaling.eval.report.findings import Finding
from rope_scaling.eval.report.heat import NOTE, heat_charts
from rope_scaling.eval.report.overall import mean_chart, means, pairs
from rope_scaling.eval.report.record import Record
from rope_scaling.eval.report.style import line_style, numbers
from rope_scaling.eval.report.task_charts import charts_of
from rope_scaling.eval.report.tasks import TaskFinding
from rope_scaling.eval.report.templating import asset, render
from rope_scaling.eval.report.words import Verdict

_UNFOLDED = 3
"""Tasks that the page shows without being asked."""


def page(
    record: Record,
    found: Sequence[Finding],
    verdicts: Sequence[Verdict],
    tasks: Sequence[TaskFinding] = (),
    whole: TaskFinding | None = None,
) -> str:
    """Return the page; the same record gives the same page, byte for byte.

    Foreign text is escaped by Jinja, and again for Plotly where a chart holds it; what the page's script shows goes
    into text nodes. Should some slip through, the page's security policy still forbids every script but ours, by
    their hashes, and every request.
    """
    scripts = {"plotly": _plotly(), "page": asset("page.js"), "answers": asset("answers.js")}
    lines, heats, asked = curve_charts(record), heat_charts(record), charts_of(record, tasks)
    mean = (mean_chart(record, whole),) if whole else ()
    values = {
        "title": title(record),
        "record": record,
        "length": short(record.length),
        "verdicts": verdicts,
        "lines": lines,
        "heats": heats,
        "heat_note": NOTE,
        "figures": {chart.name: chart.figure for chart in (*lines, *heats, *mean, *chain(*asked))},
        "legend": _legend(record),
        "tables": _tables(record, found, tasks),
        "whole": _whole(record, whole, *mean) if whole else None,
        "tasks": [_task(record, finding, charts, len(tasks)) for finding, charts in zip(tasks, asked, strict=True)],
        "bars": task_tables.bars(tasks),
        "questions": questions(record),
        "about": about(record),
        "command": command(record),
        "style": asset("page.css"),
        "scripts": scripts,
        "policy": _policy(scripts.values()),
    }
    return render("page.html.jinja", values)


def _tables(record: Record, found: Sequence[Finding], tasks: Sequence[TaskFinding]) -> dict[str, tables.Table | None]:
    return {
        "perplexities": tables.perplexities(record),
        "effects": tables.effects(record, found),
        "answers": tables.answers(record, found),
        "passkeys": tables.passkeys(found),
        "points": tables.points(record),
        "reached": task_tables.reached(tasks),
        "agreement": agreement(record),
    }


def _whole(record: Record, whole: TaskFinding, chart: Chart) -> dict[str, Any]:
    """Return what the page shows of all tasks together."""
    note = task_tables.overall_note()
    return {"line": chart, "scores": means(whole), "pairs": pairs(record, whole), "pairs_note": note}


def _task(record: Record, finding: TaskFinding, charts: Sequence[Chart], tasks: int) -> dict[str, Any]:
    """Return what the page shows of one task; of many, only what is asked for is unfolded."""
    task = finding.task
    return {
        "name": task.name,
        "nats": not task.higher_is_better,
        "open": tasks <= _UNFOLDED or task is record.tasks[0],
        "line": charts[0],
        "heats": charts[1:],
        "scores": task_tables.scores(finding),
        "pairs": task_tables.pairs(record, finding),
        "pairs_note": task_tables.pairs_note(task),
        "reaches": [(one.scheme, task_tables.reach_text(one.holds)) for one in finding.schemes if one.holds],
        "questions": len({answer.key for asked in task.schemes for answer in asked.answers}),
    }


def _legend(record: Record) -> list[dict[str, Any]]:
    """Return a button's look for each scheme of the curves."""
    drawn = {row.scheme for row in record.rows} | {asked.scheme for task in record.tasks for asked in task.schemes}
    looks = []
    for scheme, number in numbers(record).items():
        line = line_style(scheme, number)["line"]
        dash = "none" if line["dash"] == "solid" else line["dash"].replace("px", "")
        if scheme in drawn:
            looks.append({"scheme": scheme, "color": line["color"], "dash": dash, "number": number})
    return looks


def _policy(scripts: Iterable[str]) -> str:
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    allowed = " ".join(f"'sha256-{one}'" for one in hashes)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
        "form-action 'none'"
    )


@cache
def _plotly() -> str:
    from plotly import offline

    source: str = offline.get_plotlyjs()
    return source
