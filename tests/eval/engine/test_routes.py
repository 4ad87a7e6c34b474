"""How lm-eval comes to know `rope-hf`: its plugins, our command line, and the file of a task."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

from rope_scaling.eval.embedded import EMBEDDED
from rope_scaling.eval.harness import TASKS
from rope_scaling.eval.lm import RopeHFLM

# what lm-eval after 0.4.13 does: the entry point stands in its registry until somebody asks for the model
LAZILY = """
import sys
from importlib.metadata import entry_points
from lm_eval.api.registry import get_model, model_registry
assert "rope_scaling" not in sys.modules
(found,) = entry_points(group="lm_eval.models", name="rope-hf")
model_registry.register(found.name, target=found)
assert "rope_scaling" not in sys.modules
print(get_model("rope-hf").__module__)
"""


def run(*arguments: str) -> str:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=True).stdout


def test_the_entry_point_is_the_model() -> None:
    (found,) = entry_points(group="lm_eval.models", name="rope-hf")
    assert found.load() is RopeHFLM
    assert run("-c", LAZILY).strip() == "rope_scaling.eval.lm"


def test_lm_evals_own_command_line_knows_it_by_the_file_of_a_task(tmp_path: Path) -> None:
    """`rope-scaling lm-eval`, the third way, is tested where the harness is."""
    arguments = f"pretrained={EMBEDDED['tiny-llama-512']},scheme=yarn,factor=2,dynamic=true,cache_gb=1"
    model = ["--model", "rope-hf", "--model_args", arguments]
    task = ["--tasks", str(TASKS / "passkey" / "rope_passkey.yaml")]
    cells = ["--metadata", json.dumps({"lengths": [600], "depths": [0.5], "samples": 1})]
    run("-m", "lm_eval", *model, *task, *cells, "--output_path", str(tmp_path))
    (written,) = tmp_path.rglob("results_*.json")
    config = json.loads(written.read_text())["config"]
    assert (config["rope"]["scheme"], config["rope"]["factor"]) == ("dynamic-yarn", 2.0)
    assert config["engine"]["chunked"]
    assert config["harness_max_length"] == 1024
