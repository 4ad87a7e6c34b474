"""Writes docs/doctor.md from the rules: `python -m tests.doctor.page`."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path

from rope_scaling.doctor import RULES
from rope_scaling.doctor.engines import SOURCES
from rope_scaling.doctor.finding import Finding, Rule
from tests.doctor.cases import CASES

PAGE = Path(__file__).parents[2] / "docs" / "doctor.md"
PUBLISHED = Path(__file__).parent / "published.json"

_HEAD = Path(__file__).parent / "head.md"


def main() -> None:
    """Write the page."""
    PAGE.write_text(text(), encoding="utf-8")


def text() -> str:
    """The page."""
    published = len(json.loads(PUBLISHED.read_text(encoding="utf-8")))
    parts = [
        _HEAD.read_text(encoding="utf-8").format(rules=len(RULES), published=published),
        "## Rules",
        "",
        *_table(),
        "",
    ]
    for rule in RULES:
        parts += [*_section(rule), ""]
    return "\n".join([*parts, *_sources()]) + "\n"


def _table() -> Iterator[str]:
    yield "| code | severity | what is wrong |"
    yield "|---|---|---|"
    for rule in RULES:
        yield f"| [{rule.code}](#{rule.code}) | {rule.severity.value} | {rule.about} |"


def _section(rule: Rule) -> Iterator[str]:
    finding = rule.findings(CASES[rule.code][0]())[0]
    yield f"### {rule.code}"
    yield ""
    yield f"{rule.severity.value.capitalize()}. {rule.about} {rule.why}"
    if finding.symptom.seen == "seen":  # found by reading files, where the case has none
        return
    yield ""
    yield from _example(finding)


def _example(finding: Finding) -> Iterator[str]:
    symptom = finding.symptom
    yield "```text"
    yield f"{finding.severity.value} {finding.code}: {symptom.seen}"
    engines = (f"{name}: {what}" for name, what in symptom.engines.items())
    for line in itertools.chain([symptom.consequence], engines, [f"mend: {symptom.mend}"]):
        yield f"  {re.sub(r'  +', ' ', line)}"
    yield "```"


def _sources() -> Iterator[str]:
    yield "## What engines read"
    yield ""
    yield "Read in their published code, which changes; hold your version against it:"
    yield ""
    for engine, files in SOURCES.items():
        yield f"- {engine}: {'; '.join(f'`{name}`' for name in files)}"


if __name__ == "__main__":
    main()
