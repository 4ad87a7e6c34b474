"""Runs `rope-scaling eval` on the embedded checkpoint, once undisturbed and once killed again and again.

`python -m tests.eval.runner.kills FOLDER KILLS SAMPLES`: every run is a fork of this process, which has imported
everything and computed nothing; every unit of work is logged as it begins, from outside of the code that keeps answers.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rope_scaling.cli import app
from rope_scaling.eval import compare, run
from rope_scaling.eval.embedded import EMBEDDED
from rope_scaling.eval.engine.hflm import EngineHFLM
from rope_scaling.eval.lm import RopeHFLM
from rope_scaling.eval.runner import table, tasks
from rope_scaling.eval.store.keys import digest
from rope_scaling.patches import describe

IMPORTED = (run, table, tasks)
SCHEMES = ("none", "ntk:factor=2")
COMMAND = [
    *("eval", str(EMBEDDED["tiny-llama-512"]), "--output", "run"),
    *("--tasks", "rope_passkey_mc,rope_niah_single,rope_ppl", "--lengths", "192,256", "--depths", "0,1"),
    *(part for scheme in SCHEMES for part in ("--scheme", scheme)),
    *("--text", str(EMBEDDED["macbeth"]), "--texts", "2", "--original-max-length", "192"),
]


def main(folder: Path, kills: int, samples: int) -> None:
    """Leave `whole/run`, `killed/run`, and `log`: a line for each unit of each attempt."""
    command = [*COMMAND, "--samples", str(samples)]
    rng = random.Random(0)
    assert _ended(_started(folder / "whole", command, folder / "whole.log", 0))
    log = folder / "log"
    begun = [json.loads(line)["time"] for line in (folder / "whole.log").read_text().splitlines()]
    unit = (begun[-1] - begun[0]) / len(begun)
    for attempt in range(kills):
        child = _started(folder / "killed", command, log, attempt)
        _wait_for(child, log, attempt, rng.randint(0, 1))
        time.sleep(rng.uniform(0, unit))
        os.kill(child, signal.SIGKILL)
        assert not _ended(child), f"attempt {attempt} was done before it was killed: ask for more samples"
    assert _ended(_started(folder / "killed", command, log, kills))


def _started(folder: Path, command: list[str], log: Path, attempt: int) -> int:
    child = os.fork()
    if child:
        return child
    try:
        folder.mkdir(exist_ok=True)
        os.chdir(folder)
        quiet = os.open(folder / "output", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        _log_units(log, attempt)
        sys.argv = ["rope-scaling", *command]
        app(command, standalone_mode=False)
    except BaseException as error:
        os.write(2, f"{error!r}\n".encode())
        os._exit(1)
    os._exit(0)


def _ended(child: int) -> bool:
    """Whether it ran to its end by itself."""
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.waitstatus_to_exitcode(status) == 0
    return os.WIFEXITED(status)


def _wait_for(child: int, log: Path, attempt: int, units: int) -> None:
    """Wait until an attempt has begun more than `units`."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        lines = log.read_text().splitlines() if log.exists() else []
        if sum(json.loads(line)["attempt"] == attempt for line in lines) > units:
            return
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    raise AssertionError("nothing was begun for a minute")


def _log_units(log: Path, attempt: int) -> None:
    """Have the functions that compute write down what they are given."""
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def write(keys: list[str]) -> None:
        os.write(file, (json.dumps({"attempt": attempt, "time": time.monotonic(), "keys": keys}) + "\n").encode())

    def answering(compute: Callable[..., Any]) -> Callable[..., Any]:
        def logged(lm: RopeHFLM, requests: list[Any], **options: Any) -> Any:
            write([digest([compute.__name__, lm.rope(), [str(part) for part in one.args]]) for one in requests])
            return compute(lm, requests, **options)

        return logged

    def scoring(compute: Callable[..., Any]) -> Callable[..., Any]:
        def logged(model: Any, texts: Any, **options: Any) -> Any:
            scheme = str(describe(model).scheme)
            write([digest([compute.__name__, scheme, text.tolist()]) for text in texts])
            return compute(model, texts, **options)

        return logged

    for name in ("loglikelihood", "generate_until"):
        setattr(EngineHFLM, name, answering(getattr(EngineHFLM, name)))
    for name in ("token_nll", "window_nll"):
        setattr(compare, name, scoring(getattr(compare, name)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
