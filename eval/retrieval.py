"""The passkey task over many schemes, through lm-eval's own evaluator, and its table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rope_scaling.eval.bins import short
from rope_scaling.eval.compare import Plan
from rope_scaling.eval.tasks.passkey.prompt import ANSWER_TOKENS
from rope_scaling.patches import patched
from rope_scaling.schemes import parse_scheme


def run_passkey(
    model: Any,
    tokenizer: Any,
    plan: Plan,
    lengths: Sequence[int],
    samples: int,
    say: Callable[[str], None] = lambda message: None,
) -> dict[str, Any]:
    """Ask every scheme of the plan the same passkey questions.

    No row is truncated: the unpatched model too is asked at the full length.

    Returns:
        For each scheme what `evaluate_passkey` returns.
    """
    from rope_scaling.eval.harness import evaluate_passkey, require_lm_eval

    require_lm_eval()
    from rope_scaling.eval.lm import RopeHFLM

    results = {}
    for text in plan.schemes:
        say(f"passkey: {text}")
        with patched(model, parse_scheme(text), **plan.patch):
            room = max(*lengths, model.config.max_position_embeddings) + ANSWER_TOKENS
            lm = RopeHFLM(model, tokenizer=tokenizer, max_length=room, batch_size=plan.batch_size)
            results[text] = evaluate_passkey(lm, lengths, samples=samples)
    return results


def print_passkey(console: Console, results: dict[str, Any]) -> None:
    """Print the share of keys found, a row a scheme and a column a length."""
    console.print("passkeys found (five depths each)", style="italic", highlight=False)
    table = Table()
    table.add_column("scheme", overflow="fold")
    rows = {scheme: result["accuracy"] for scheme, result in results.items()}
    for cell in next(iter(rows.values())):
        table.add_column(short(cell["length"]), justify="right", no_wrap=True)
    for scheme, cells in rows.items():
        table.add_row(escape(scheme), *(f"{round(c['accuracy'] * c['samples'])}/{c['samples']}" for c in cells))
    console.print(table)
