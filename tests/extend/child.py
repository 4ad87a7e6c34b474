"""Extend a folder in a process of its own, which says when it begins: to be killed, raced and starved."""

from __future__ import annotations

import os
import resource
import signal
import sys
from multiprocessing.connection import Connection
from pathlib import Path

from rope_scaling.extend.folder import Extension, Source, Written, extend_folder
from rope_scaling.extend.wording import ConfigEdit

YARN = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 64}


def extension() -> Extension:
    """What planning gives for a tiny llama."""
    edit = ConfigEdit((), {"rope_parameters": YARN, "max_position_embeddings": 256})
    return Extension([edit], 64, 256, "yarn, factor 4.0", {"scheme": "yarn"}, [], [])


def extend(source: Path, out: Path, *, force: bool = False, copy: bool = False) -> Written:
    """Write `out`, taking Transformers' word for granted."""
    options = {"prove": lambda folder: None, "tick": lambda copied: None}
    return extend_folder(Source.read(source), extension(), out, force=force, copy=copy, **options)  # type: ignore[arg-type]


def count_steps(last: int) -> list[int]:
    """Count what the process does to files (as Python's audit tells it), and die by SIGKILL before step `last`."""
    steps = [0]

    def hook(event: str, arguments: object) -> None:
        if event == "open" or event.startswith(("os.", "shutil.")):
            steps[0] += 1
            if steps[0] == last:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    return steps


def main(said: Connection, source: Path, out: Path, last: int, limit: int | None, flags: dict[str, bool]) -> None:
    """Say "begin", wait for an answer, and say how many steps it took or what went wrong."""
    if limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    said.send("begin")
    said.recv()
    steps = count_steps(last)
    try:
        extend(source, out, **flags)
    except (ValueError, OSError) as error:
        said.send(f"{type(error).__name__}: {error}")
        sys.exit(1)
    said.send(steps[0])
