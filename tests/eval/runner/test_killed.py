from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]


def without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_times(one) for key, one in value.items() if key not in ("seconds", "peak_rss_bytes")}
    return [without_times(one) for one in value] if isinstance(value, list) else value


def logged(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize(
    ("kills", "samples"), [(10, 2), pytest.param(100, 25, marks=pytest.mark.slow)], ids=["ten", "a hundred"]
)
def test_a_run_that_is_killed_again_and_again_ends_as_one_that_was_not(
    tmp_path: Path, kills: int, samples: int
) -> None:
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    driver = [sys.executable, "-m", "tests.eval.runner.kills", str(tmp_path), str(kills), str(samples)]
    done = subprocess.run(driver, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    whole, killed = (json.loads((tmp_path / name / "run" / "run.json").read_text()) for name in ("whole", "killed"))
    assert without_times(killed) == without_times(whole)
    assert len(whole["rows"]) == 3
    assert list(whole["tasks"]) == ["rope_passkey_mc", "rope_niah_single", "rope_ppl"]
    assert all(list(task["schemes"]) == ["none", "ntk:factor=2"] for task in whole["tasks"].values())

    undisturbed = [one["keys"] for one in logged(tmp_path / "whole.log")]
    attempts: list[list[list[str]]] = [[] for _ in range(kills + 1)]
    for one in logged(tmp_path / "log"):
        attempts[one["attempt"]].append(one["keys"])
    finished: set[str] = set()
    for attempt, units in enumerate(attempts):
        for unit in units:
            assert unit in undisturbed  # what is answered together is the same, so the answers are to the last bit
            assert finished.isdisjoint(unit)
        sure = units if attempt == kills else units[:-1]  # all but the unit that the attempt died in
        finished.update(key for unit in sure for key in unit)
    begun = [key for units in attempts for unit in units for key in unit]
    asked = [key for unit in undisturbed for key in unit]
    assert set(begun) == set(asked)
    assert len(set(asked)) == len(asked)
    assert len(begun) <= len(asked) + sum(len(units[-1]) for units in attempts[:-1])
    kept = list((tmp_path / "killed" / "run").glob("answers*.jsonl"))
    assert len(kept) == 1  # a file is free again as soon as its writer is dead
