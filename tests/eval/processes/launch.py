"""Starts a module or script in several processes, as users do, and waits for all of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
PROCESSES = 2


def launched(*command: str, seconds: float = 120, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `python COMMAND` in two processes; one that hangs fails the test."""
    told = {
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        **environment,
    }
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={PROCESSES}"]
    return subprocess.run(
        [*start, *command], env=os.environ | told, capture_output=True, text=True, timeout=seconds, check=False
    )
