"""One page that opens from disk: text, tables, and Plotly with the charts inside of it."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

from rope_scaling.eval.report import tables
from rope_scaling.eval.report.charts import curve_charts
from rope_scaling.eval.report.commands import about, command, title
from rope_scaling.eval.report.findings import Finding
from rope_scaling.eval.report.heat import NOTE, heat_charts
from rope_scaling.eval.report.record import Record
from rope_scaling.eval.report.style import line_style
from rope_scaling.eval.report.templating import asset, render
from rope_scaling.eval.report.words import Verdict


def page(record: Record, found: Sequence[Finding], verdicts: Sequence[Verdict]) -> str:
    """Return the page; the same record gives the same page, byte for byte.

    Foreign text is escaped by Jinja, and again for Plotly where a chart holds it. Should some slip through, the page's
    security policy still forbids every script but the two of ours, by their hashes, and every request.
    """
    scripts = {"plotly": _plotly(), "own": asset("page.js")}
    lines, heats = curve_charts(record), heat_charts(record)
    values = {
        "title": title(record),
        "record": record,
        "verdicts": verdicts,
        "lines": lines,
        "heats": heats,
        "heat_note": NOTE,
        "figures": {chart.name: chart.figure for chart in (*lines, *heats)},
        "legend": _legend(record),
        "tables": _tables(record, found),
        "about": about(record),
        "command": command(record),
        "style": asset("page.css"),
        "scripts": scripts,
        "policy": _policy(scripts.values()),
    }
    return render("page.html.jinja", values)


def _tables(record: Record, found: Sequence[Finding]) -> dict[str, tables.Table | None]:
    return {
        "perplexities": tables.perplexities(record),
        "effects": tables.effects(record, found),
        "answers": tables.answers(record, found),
        "passkeys": tables.passkeys(found),
        "points": tables.points(record),
    }


def _legend(record: Record) -> list[dict[str, Any]]:
    """Return a button's look for each scheme of the curves."""
    looks = []
    for number, row in enumerate(record.rows):
        line = line_style(row.scheme, number)["line"]
        dash = "none" if line["dash"] == "solid" else line["dash"].replace("px", "")
        looks.append({"scheme": row.scheme, "color": line["color"], "dash": dash, "number": number})
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
