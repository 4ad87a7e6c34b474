"""The laws of RoPE and the agreement of weights and config, checked on a checkpoint and told on the terminal."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from safetensors import safe_open
from torch import Tensor

from rope_scaling.eval.run import load
from rope_scaling.patches.laws.check import check_laws
from rope_scaling.patches.laws.law import LawResult
from rope_scaling.patches.laws.mismatch import find_mismatches, head_dim_law

TOKENS = 512
_VERDICTS = {True: "[green]pass[/green]", False: "[red]FAIL[/red]", None: "[yellow]-[/yellow]"}


@dataclass(frozen=True)
class Probe:
    """What was found: the laws of RoPE, and whether weights and config agree."""

    laws: tuple[LawResult, ...]
    mismatches: tuple[LawResult, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing failed; what could not be told, or did not apply, counts as passed."""
        return all(one.passed is not False for one in (*self.laws, *self.mismatches))


def probe_model(model: Any, input_ids: Tensor | None = None) -> Probe:
    """Run every law and every comparison on a loaded model; it is left as it was.

    Args:
        model: A causal language model of Transformers.
        input_ids: Natural text, (1, tokens), for the faults that only predictions betray.
    """
    laws = check_laws(model)
    try:
        return Probe(laws, find_mismatches(model, input_ids))
    except TypeError:  # no rotary embedding: the laws have said so
        return Probe(laws, ())


def probe_checkpoint(
    checkpoint: str, text: Path | None = None, dtype: str = "auto", device: str | None = None
) -> Probe:
    """Load a checkpoint and probe it; one whose config does not fit its weights is told so before loading fails."""
    fits = _shapes_fit(checkpoint)
    if fits is not None and fits.passed is False:
        return Probe((), (fits,))
    model, tokenizer = load(checkpoint, dtype, device)
    content = None if text is None else text.read_text(encoding="utf-8")
    ids = None if content is None else tokenizer(content[: 16 * TOKENS], return_tensors="pt").input_ids[:, :TOKENS]
    return probe_model(model, ids)


def print_probe(console: Console, probe: Probe) -> None:
    """Print what was found, with the measured numbers."""
    _print(console, "laws of RoPE", probe.laws)
    _print(console, "weights against config", probe.mismatches)
    failed = [one.name for one in (*probe.laws, *probe.mismatches) if one.passed is False]
    console.print(f"[red]failed: {', '.join(failed)}[/red]" if failed else "[green]nothing failed[/green]")


def _print(console: Console, title: str, results: Sequence[LawResult]) -> None:
    if not results:
        return
    table = Table(title=title, title_justify="left", title_style="italic")
    for name in ("law", "", "measured", "bound"):
        table.add_column(name, justify="right" if name in ("measured", "bound") else "left", no_wrap=True)
    table.add_column("in words", overflow="fold")
    told: set[str] = set()
    for one in results:
        words = '"' if one.sentence in told else escape(one.sentence)  # one reason for many laws is told once
        told.add(one.sentence)
        table.add_row(one.name, _VERDICTS[one.passed], _number(one.measured), _number(one.bound), words)
    console.print(table)


def _number(value: float) -> str:
    return "" if value != value else f"{value:.3g}"


def _shapes_fit(checkpoint: str) -> LawResult | None:
    """The head_dim law on files: Transformers refuses to load what breaks it, without saying why."""
    folder = Path(checkpoint)
    files = sorted(folder.glob("*.safetensors"))
    if not files or not (folder / "config.json").is_file():
        return None
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    shapes: dict[str, tuple[int, ...]] = {}
    for file in files:
        with safe_open(file, framework="pt") as weights:
            shapes |= {name: tuple(weights.get_slice(name).get_shape()) for name in weights.keys()}  # noqa: SIM118
    try:
        return head_dim_law(config, shapes)
    except (ValueError, TypeError):
        return None
