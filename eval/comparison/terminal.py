"""A comparison of two runs as a table on the terminal."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import groupby

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rope_scaling.eval.comparison.rows import TEXT, Comparison, Row
from rope_scaling.eval.report.commands import checkpoint_name
from rope_scaling.eval.report.numerals import signed
from rope_scaling.eval.report.record import Record
from rope_scaling.eval.report.tables import NONE, number, p_text

_COLORS = {"better": "green", "worse": "red", "undecided": "yellow"}


def print_comparison(console: Console, first: Record, second: Record, told: Comparison) -> None:
    """Print what differs between the runs, the rows, and what could not be paired."""
    for line in _differences(first, second):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    pairs = {(row.scheme_a, row.scheme_b) for row in told.rows}
    for scheme_a, scheme_b in dict.fromkeys((row.scheme_a, row.scheme_b) for row in told.rows):
        rows = [row for row in told.rows if (row.scheme_a, row.scheme_b) == (scheme_a, scheme_b)]
        title = scheme_a if scheme_a == scheme_b else f"A: {scheme_a}, B: {scheme_b}"
        console.print(_table(rows, title))
    for line in _notes(told, len(pairs)):
        console.print(line, style="italic", highlight=False, markup=False, soft_wrap=True)


def _differences(first: Record, second: Record) -> Iterator[str]:
    """Yield what the runs are of, one line for each thing that differs."""
    names = checkpoint_name(first), checkpoint_name(second)
    yield f"A: {names[0]}; B: {names[1]}" if names[0] != names[1] else f"A and B: {names[0]}"
    ours, theirs = {**first.about, **first.versions}, {**second.about, **second.versions}
    other = [key for key in dict.fromkeys([*ours, *theirs]) if ours.get(key) != theirs.get(key)]
    if first.length != second.length:
        yield f"trained length: A {first.length}, B {second.length}"
    if other:
        yield "other in B: " + ", ".join(f"{key} {ours.get(key, '?')} → {theirs.get(key, '?')}" for key in other)


def _table(rows: list[Row], title: str) -> Table:
    """Return a table that a terminal of 80 columns holds: what was asked, and below it where."""
    table = Table(title=escape(title), title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("at (pairs)", overflow="fold")
    for name in ("A", "B", "B − A [95%]", "p"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("B is", no_wrap=True)
    for what, some in groupby(rows, key=lambda row: row.what):
        table.add_row(f"[bold]{escape(what)}[/]")
        for row in some:
            verdict = f"[{_COLORS[row.outcome]}]{row.outcome}[/]"
            table.add_row(
                f"  {row.place} ({row.blocks or row.pairs})", *_scores(row), _difference(row), _p(row), verdict
            )
    return table


def _scores(row: Row) -> tuple[str, str]:
    if row.what == TEXT:
        return number(math.exp(row.score_a)), number(math.exp(row.score_b))
    if row.nats:
        return f"{row.score_a:.3f}", f"{row.score_b:.3f}"
    return f"{row.score_a:.0%}", f"{row.score_b:.0%}"


def _difference(row: Row) -> str:
    told = row.difference
    if told is None:
        return "too few pairs"
    if row.nats:
        return f"{signed(told.mean, 3)} [{signed(told.low, 3)}, {signed(told.high, 3)}]"
    mean, low, high = (signed(100 * value, 0) for value in (told.mean, told.low, told.high))
    return f"{mean} [{low}, {high}]"


def _p(row: Row) -> str:
    return NONE if row.p_value is None else p_text(row.p_value)


def _notes(told: Comparison, schemes: int) -> Iterator[str]:
    worse, better = (sum(row.outcome == kind for row in told.rows) for kind in ("worse", "better"))
    under = f" under {schemes} schemes" if schemes > 1 else ""
    yield (
        f"B is better in {better}, worse in {worse} of {len(told.rows)} rows{under}; p is McNemar's exact one, or by "
        f"sign flips, corrected by Holm for all {len(told.rows)}"
    )
    yield "differences are percentage points or nats per token; pairs are questions or blocks of tokens"
    left = [(row, run, count) for row in told.rows for run, count in zip("AB", row.left_out, strict=True) if count]
    yield from (
        f"left out: {count} questions of {row.what} at {row.place}, only in run {run}" for row, run, count in left
    )
    yield from (f"not paired: {why}" for why in told.unpaired)
