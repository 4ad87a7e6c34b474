"""Where lm-eval is not installed, texts are scored without it, and everything else says what to install."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SCRIPT = """
import json, sys
sys.modules["lm_eval"] = None
from typer.testing import CliRunner
from rope_scaling.cli import app
from rope_scaling.eval.embedded import EMBEDDED
tiny, text = str(EMBEDDED["tiny-llama-512"]), ["--text", str(EMBEDDED["macbeth"]), "--lengths", "64,128"]
calls = {
    "text": ["eval", tiny, *text, "-o", "run"],
    "text again": ["eval", tiny, *text, "--scheme", "ntk", "-o", "run"],
    "tasks": ["eval", tiny, "--tasks", "rope_vt", "--lengths", "512", "-o", "tasks"],
    "passkey": ["eval", tiny, *text, "--passkey", "512", "-o", "passkey"],
    "vllm": ["eval", tiny, "--tasks", "rope_vt", "--lengths", "512", "--backend", "vllm"],
    "harness": ["lm-eval", "--tasks", "rope_vt"],
}
done = {name: CliRunner().invoke(app, call) for name, call in calls.items()}
print(json.dumps({name: [one.exit_code, one.output] for name, one in done.items()}))
"""


def test_what_needs_lm_eval_says_so_before_anything_is_computed(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    told: dict[str, tuple[int, str]] = json.loads(done.stdout.splitlines()[-1])
    for name in ("text", "text again"):
        assert told[name][0] == 0, told[name][1]
    for name in ("tasks", "passkey", "vllm", "harness"):
        code, output = told[name]
        assert (code, "lm-eval is not installed: pip install 'rope-scaling[eval]'" in output) == (1, True), output
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
