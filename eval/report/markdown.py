"""The same verdicts and tables for a model card, in GitHub's Markdown."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from rope_scaling.eval.report import tables, task_tables
from rope_scaling.eval.report.answers import agreement
from rope_scaling.eval.report.charts import Chart
from rope_scaling.eval.report.commands import about, checkpoint_name, command
from rope_scaling.eval.report.findings import Finding
from rope_scaling.eval.report.overall import means, pairs
from rope_scaling.eval.report.record import Record
from rope_scaling.eval.report.tasks import TaskFinding
from rope_scaling.eval.report.templating import render
from rope_scaling.eval.report.words import Verdict


def markdown(
    record: Record,
    found: Sequence[Finding],
    verdicts: Sequence[Verdict],
    pictures: Sequence[tuple[Chart, str]] = (),
    tasks: Sequence[TaskFinding] = (),
    whole: TaskFinding | None = None,
) -> str:
    """Return the summary; `pictures` are charts and where they lie, seen from the file."""
    shown = [
        tables.perplexities(record),
        tables.effects(record, found),
        tables.answers(record, found),
        tables.passkeys(found),
        *((means(whole), pairs(record, whole)) if whole else ()),
        task_tables.reached(tasks),
        *(table for one in tasks for table in (task_tables.scores(one), task_tables.pairs(record, one))),
        agreement(record),
    ]
    values = {
        "name": checkpoint_name(record),
        "length": record.length,
        "verdicts": verdicts,
        "tables": [table for table in shown if table],
        "pictures": pictures,
        "block": record.block,
        "texts": bool(record.rows),
        "questions": bool(record.keys or record.tasks),
        "command": command(record),
        "about": about(record),
    }
    return render("summary.md.jinja", values, {"code": code, "cell": cell, "block": block, "plain": plain})


def code(text: str) -> str:
    """Return a code span that shows any text as it is."""
    flat = re.sub(r"[\x00-\x1f\x7f\u2028\u2029]+", " ", text)
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", flat)), default=0))
    space = " " if flat.startswith("`") or flat.endswith("`") or not flat.strip() else ""
    return f"{fence}{space}{flat}{space}{fence}"


def cell(text: str) -> str:
    """Return a code span that does not end a table's cell."""
    return code(text).replace("|", "\\|")


def plain(text: str) -> str:
    """Return text that Markdown shows as it is; an underscore within a word means nothing to it."""
    flat = re.sub(r"[\x00-\x1f\x7f\u2028\u2029]+", " ", text)
    return re.sub(r"([\\`*\[\]{}<>|&~]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9]))", r"\\\1", flat)


def block(text: str) -> str:
    """Return a block of code that no line of it can end."""
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence}sh\n{text}\n{fence}"


def link(picture: Path, summary: Path) -> str:
    """Return where a picture lies, seen from the summary."""
    try:
        way = os.path.relpath(picture, summary.parent)
    except ValueError:  # on another drive of Windows
        way = str(picture.resolve())
    return quote(way.replace(os.sep, "/"), safe="/:")
