"""What two processes and what one process answer, computed once for all tests."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from rope_scaling.cli import app
from tests.eval.processes.asked import MODEL, TOO_LONG, answers, command
from tests.eval.processes.launch import PROCESSES, launched
from tests.eval.tiny import tiny_checkpoint


@dataclass(frozen=True)
class Said:
    """What a way of starting gave.

    Attributes:
        run: the folder of `rope-scaling eval -o`.
        printed: what that command printed.
        answers: what lm-eval made of `rope-hf`'s answers, by model; one of each process.
    """

    run: Path
    printed: str
    answers: dict[str, list[dict[str, Any]]]


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_checkpoint(tmp_path_factory.mktemp("tiny")))


@pytest.fixture(scope="session")
def asked(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return command(tmp_path_factory.mktemp("asked"))


@pytest.fixture(scope="session")
def together(checkpoint: str, asked: list[str], tmp_path_factory: pytest.TempPathFactory) -> Said:
    """Two processes that a launcher starts."""
    folder = tmp_path_factory.mktemp("together")
    place = folder / "RUN"
    module = ("-m", "tests.eval.processes.asked", checkpoint, str(folder))
    run = launched(*module, checkpoint, *asked, "-o", str(place))
    assert run.returncode == 0, run.stderr
    told = {
        name: [json.loads((folder / f"{name}-{index}.json").read_text()) for index in range(PROCESSES)]
        for name in ("scaled", "truncated")
    }
    return Said(place, run.stdout, told)


@pytest.fixture(scope="session")
def alone(checkpoint: str, asked: list[str], tmp_path_factory: pytest.TempPathFactory) -> Said:
    """This process."""
    place = tmp_path_factory.mktemp("alone") / "RUN"
    run = CliRunner().invoke(app, ["eval", checkpoint, *asked, "-o", str(place)])
    assert run.exit_code == 0, run.output
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        told = {"scaled": [answers(checkpoint, **MODEL)], "truncated": [answers(checkpoint, **TOO_LONG)]}
    return Said(place, run.stdout, told)
