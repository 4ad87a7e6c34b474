"""Calls of `rope-scaling` on a tiny checkpoint, in this process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from rope_scaling.cli import app
from rope_scaling.eval import compare
from rope_scaling.eval.lm import RopeHFLM

SCHEMES = ("--scheme", "none", "--scheme", "ntk:factor=32")
TASKS = ("--tasks", "rope_passkey_mc,rope_ppl", "--lengths", "400,640", "--depths", "0,1", "--samples", "2")


def call(checkpoint: Path, output: Path | None, *arguments: object) -> Result:
    """`rope-scaling eval`."""
    where = [] if output is None else ["--output", output]
    return run("eval", checkpoint, *arguments, *where)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(one) for one in arguments])


def words(text: str) -> str:
    """On one line: a terminal breaks long ones."""
    return " ".join(text.split())


def record(output: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((output / "run.json" if output.is_dir() else output).read_text())
    return read


def forbid_computing(monkeypatch: pytest.MonkeyPatch) -> None:
    for method in ("loglikelihood", "generate_until"):
        monkeypatch.setattr(RopeHFLM, method, lambda *_, **__: pytest.fail("computed again"))
    for name in ("token_nll", "planned_nll", "window_nll"):
        monkeypatch.setattr(compare, name, lambda *_, **__: pytest.fail("computed again"))
