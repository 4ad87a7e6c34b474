"""A process in which this package cannot be imported, and what plain Transformers makes of a folder there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import torch

_SCRIPT = """
import sys

class Forbidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("rope_scaling", "patches", "eval"):
            raise ImportError(name + " must not be needed")

sys.meta_path.insert(0, Forbidden())
import torch
from transformers import AutoModelForCausalLM

ids, positions = torch.load(sys.argv[1])
for folder in sys.argv[2:]:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        logits = model(ids, position_ids=positions, use_cache=False).logits
    torch.save((logits, model.config.max_position_embeddings), folder + ".logits")
assert "rope_scaling" not in sys.modules
"""


def plain_logits(
    folders: list[Path], ids: torch.Tensor, positions: torch.Tensor, scratch: Path
) -> list[tuple[torch.Tensor, int]]:
    """Logits and declared length of each folder, loaded by Transformers alone."""
    torch.save((ids, positions), scratch / "ids.pt")
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    command = [sys.executable, "-I", "-c", _SCRIPT, str(scratch / "ids.pt"), *map(str, folders)]
    done = subprocess.run(command, env=kept, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [torch.load(f"{folder}.logits") for folder in folders]
