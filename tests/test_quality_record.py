"""The record of what each scheme is worth: the tables in README and docs are those that it makes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with what `benchmarks/quality_report.py` makes of the record."""
    folder = tmp_path_factory.mktemp("quality")
    command = [sys.executable, "benchmarks/quality_report.py", "benchmarks/results/quality.jsonl"]
    command += ["--markdown", str(folder / "tables.md"), "--summary", str(folder / "one.md")]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return folder


@pytest.mark.parametrize(("page", "table"), [("docs/remap.md", "tables.md"), ("README.md", "one.md")])
def test_the_tables_are_those_of_the_record(made: Path, page: str, table: str) -> None:
    assert (made / table).read_text(encoding="utf-8") in (ROOT / page).read_text(encoding="utf-8")
