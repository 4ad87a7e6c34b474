"""The passkey task over many schemes, through lm-eval's own evaluator, and its table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rope_scaling.eval.bins import short
from rope_scaling.eval.compare import Plan
from rope_scaling.eval.evaluator import DEPTHS, evaluate_passkey, require_lm_eval
from rope_scaling.patches import patched
from rope_scaling.schemes import parse_scheme

if TYPE_CHECKING:
    from rope_scaling.eval.runner.keeping import Keeping


def run_passkey(
    model: Any,
    tokenizer: Any,
    plan: Plan,
    lengths: Sequence[int],
    samples: int,
    say: Callable[[str], None] = lambda message: None,
    keeping: Keeping | None = None,
    done: Callable[[dict[str, Any]], None] = lambda result: None,
) -> dict[str, Any]:
    """Ask every scheme of the plan the same passkey questions.

    No row is truncated: the unpatched model too is asked at the full length.

    Args:
        model: not patched.
        tokenizer: the model's.
        plan: the schemes, and how they are read.
        lengths: tokens, the answer's room included.
        samples: questions for each length and depth.
        say: told of each scheme as it begins.
        keeping: where answers are kept; None keeps none.
        done: told of each scheme's result, by name, as it is finished.

    Returns:
        For each scheme what `evaluate_passkey` returns.
    """
    require_lm_eval()
    from rope_scaling.eval.runner.stored import StoredLM
    from rope_scaling.eval.runner.tasks import harness_model

    results: dict[str, Any] = {}
    for text in plan.schemes:
        say(f"passkey: {text}")
        with patched(model, parse_scheme(text), **plan.patch):
            lm: Any = harness_model(model, tokenizer, plan, lengths)
            if keeping is not None:
                lm = StoredLM(lm, keeping.answers, keeping.identity(model), keeping.meter, f"passkey: {text}")
            results[text] = evaluate_passkey(lm, lengths, DEPTHS, samples)
        done({text: results[text]})
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
