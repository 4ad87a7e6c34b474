"""`rope-scaling eval` in two processes."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from rope_scaling.cli import app
from tests.eval.processes.close import assert_close
from tests.eval.processes.conftest import Said
from tests.eval.processes.launch import PROCESSES

OWN = "seconds", "peak_rss_bytes", "command", "commands"
"""What differs between two runs of the same."""


def test_two_processes_write_the_record_of_one(together: Said, alone: Said) -> None:
    own, one = (json.loads((said.run / "run.json").read_text()) for said in (together, alone))
    assert {*one["tasks"]} == {"rope_passkey", "rope_passkey_mc"}
    assert [row["scheme"] for row in one["rows"]][-1] == "window"
    assert_close(comparable(own), comparable(one))


def test_only_the_first_process_prints(together: Said, alone: Said) -> None:
    own, one = ([line for line in said.printed.splitlines() if "RUN" not in line] for said in (together, alone))
    assert own == one


def test_each_process_keeps_its_part_and_none_computes_anothers(together: Said, alone: Said) -> None:
    parts = [answered(path) for path in sorted(together.run.glob("answers*.jsonl"))]
    assert len(parts) == PROCESSES
    (whole,) = (answered(path) for path in alone.run.glob("answers*.jsonl"))
    assert sum(parts, Counter()) == whole
    assert {*whole.values()} == {1}
    assert all(len(part) > 0.3 * len(whole) for part in parts)


def test_one_process_goes_on_with_what_two_have_answered(checkpoint: str, asked: list[str], together: Said) -> None:
    before = {path.name: path.read_bytes() for path in together.run.glob("answers*.jsonl")}
    run = CliRunner().invoke(app, ["eval", checkpoint, *asked, "-o", str(together.run)])
    assert run.exit_code == 0, run.output
    assert {path.name: path.read_bytes() for path in together.run.glob("answers*.jsonl")} == before


def answered(path: Path) -> Counter[tuple[str, str]]:
    """How often each question was answered, by model."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return Counter((line["model"], key) for line in lines for key in line.get("answers", {}))


def comparable(value: Any) -> Any:
    """A record without what no two runs share."""
    if isinstance(value, dict):
        return {key: comparable(part) for key, part in sorted(value.items()) if key not in OWN}
    return [comparable(part) for part in value] if isinstance(value, list) else value
