"""One call of `rope-scaling eval`: which model, what it is asked, how far, and where the record goes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rope_scaling.eval.compare import Plan

if TYPE_CHECKING:
    from rope_scaling.eval.runner.grid import Grid


@dataclass(frozen=True)
class Job:
    """One call of `rope-scaling eval`: which model, what it is asked, how far, and where the record goes.

    Attributes:
        text: scored by position, up to the last of `lengths`; None to score none.
        lengths: edges of the position ranges, in tokens.
        texts: how many stretches of the text are scored, one after another, each as long as the last of `lengths`.
        passkey: lengths at which a passkey is asked for, in tokens.
        samples: passkeys for each length and depth.
        tasks: what else is asked.
        output: a folder for the run, or a JSON file; a run that is there already goes on.
        force: start over.
        backend: "vllm", or "hf" for a model of Transformers.
        backend_args: of vLLM, as `name=value,...`.
    """

    checkpoint: str
    text: Path | None
    lengths: tuple[int, ...]
    plan: Plan
    passkey: tuple[int, ...] = ()
    samples: int = 1
    texts: int = 1
    output: Path | None = None
    force: bool = False
    dtype: str = "auto"
    device: str | None = None
    tasks: Grid | None = None
    backend: str = "hf"
    backend_args: str | None = None

    def __post_init__(self) -> None:
        if (self.text is None) != (not self.lengths):
            raise ValueError("--text and --lengths go together: which text, and the edges of its position ranges")
        if self.text is None and not self.passkey and self.tasks is None:
            raise ValueError("nothing to measure: give --tasks or --text with --lengths, or --passkey, or all of them")
        if self.backend not in ("hf", "vllm"):
            raise ValueError(f"unknown --backend {self.backend!r} (hf, vllm)")
        if self.backend_args and self.backend == "hf":
            raise ValueError("--backend-args are for --backend vllm")
        if self.samples < 1:
            raise ValueError(f"--passkey-samples must be at least 1, got {self.samples}")
        if self.texts < 1:
            raise ValueError(f"--texts must be at least 1 stretch of the text, got {self.texts}")
