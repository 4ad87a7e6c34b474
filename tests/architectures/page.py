"""Writes docs/architectures.md from a run of the matrix: `python -m tests.architectures.page`."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

import transformers

from tests.architectures.exceptions import REFUSED
from tests.architectures.matrix import Cell, architectures, by_tables, examine
from tests.architectures.native import FACTOR, SCHEMES
from tests.architectures.shrink import TRAINED

PAGE = Path(__file__).parents[2] / "docs" / "architectures.md"

_HEAD = (
    "# Architectures\n\n"
    "Written by `python -m tests.architectures.page`; do not edit. Every causal-LM architecture of Transformers "
    "{version} that has RoPE, as a small random model (L = {length} tokens, factor {factor:g}, texts longer than L), "
    "against a model that Transformers makes from the native config with the same weights, and against its own saved "
    "and reloaded checkpoint.\n\n"
    "`=` means that every logit is the same, bit for bit; `≈` gives the largest difference; `refused` means that "
    "`patch_model` raises an error and changes nothing. In every cell, undoing gives back the logits and all state bit "
    "for bit. `tests/architectures/test_matrix.py` checks all of it.\n\n"
)


def main() -> None:
    """Run every cell and write the page."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    rows = {}
    for model_type in architectures():
        with tempfile.TemporaryDirectory() as folder:
            rows[model_type] = examine(model_type, Path(folder))
        logging.getLogger(__name__).info(model_type)
    PAGE.write_text(_page(rows), encoding="utf-8")


def _page(rows: dict[str, dict[str, Cell]]) -> str:
    head = _HEAD.format(version=transformers.__version__, length=TRAINED, factor=FACTOR)
    table = [f"| model | {' | '.join(SCHEMES)} |", f"|---|{'---|' * len(SCHEMES)}"]
    table += [f"| {name} | {' | '.join(str(cells[s]) for s in SCHEMES)} |" for name, cells in rows.items()]
    return head + "\n".join([*_counts(rows), "", *table, "", *_reasons()]) + "\n"


def _counts(rows: dict[str, dict[str, Cell]]) -> list[str]:
    lines = [f"{len(rows)} architectures.", "", "| scheme | `=` | `≈` | refused |", "|---|---|---|---|"]
    for scheme in SCHEMES:
        cells = [str(row[scheme]) for row in rows.values()]
        refused, equal = cells.count("refused"), cells.count("=")
        lines.append(f"| {scheme} | {equal} | {len(cells) - equal - refused} | {refused} |")
    return lines


def _reasons() -> list[str]:
    lines = ["## Refused", ""]
    for name, refusal in sorted(REFUSED.items()):
        which = "every scheme" if set(refusal.schemes) == set(SCHEMES) else ", ".join(refusal.schemes)
        lines.append(f"- {name} ({which}): {refusal.reason}.")
    tables = ", ".join(by_tables())
    return [
        *lines,
        "",
        "## By tables",
        "",
        f"{tables} look their rotation up in tables and have no word for it in their config. Patching scales and "
        "lengthens the tables, against closed forms (`test_special_tables.py`); plain Transformers loads such a "
        "checkpoint unpatched, and `patch_model(model)` without a scheme patches it again by its record.",
    ]


if __name__ == "__main__":
    logging.basicConfig(level="INFO", format="%(message)s")
    main()
