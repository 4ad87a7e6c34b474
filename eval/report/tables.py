"""The numbers of a record as tables of text, the same for the page and for Markdown."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rope_scaling.eval.bins import short
from rope_scaling.eval.report.blocks import curve
from rope_scaling.eval.report.findings import Finding, ratio
from rope_scaling.eval.report.numerals import count, percent, signed
from rope_scaling.eval.report.record import Record

NONE = "–"


@dataclass(frozen=True)
class Table:
    """Rows of a name and text; names of schemes are as someone typed them."""

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]


def perplexities(record: Record) -> Table | None:
    """Perplexity by range of positions."""
    if not record.rows:
        return None
    rows = tuple((row.scheme, tuple(number(one.perplexity) for one in row.ranges)) for row in record.rows)
    labels = (one.label for one in record.rows[0].ranges)
    return Table("Perplexity by position (tokens)", ("scheme", *labels), rows)


def effects(record: Record, found: Sequence[Finding]) -> Table | None:
    """What each scheme costs and buys, with effect sizes."""
    if not record.rows:
        return None
    length = short(record.length)
    tax, past = f"perplexity within {length} (95%)", f"nats a token past {length} (95%)"
    head = ("scheme", tax, past, "perplexity", "effect d", "p", "beats window")
    scored = {row.scheme for row in record.rows}
    rows = tuple((one.scheme, (_tax(one), *_past(one))) for one in found if one.scheme in scored)
    return Table(f"Short-context tax, and what was bought past {length} against window", head, rows)


def answers(record: Record, found: Sequence[Finding]) -> Table | None:
    """Whether each scheme is no worse than `window`, by range of positions past L."""
    read = [one for one in found if one.reads]
    if not read:
        return None
    labels = [one.label for one in record.rows[0].ranges if one.stop > record.length]
    rows = tuple((one.scheme, tuple(one.reads.answers.values())) for one in read if one.reads)
    return Table("No worse than window in perplexity, by position", ("scheme", *labels), rows)


def passkeys(found: Sequence[Finding]) -> Table | None:
    """Passkeys found by length."""
    asked = [one for one in found if one.found]
    if not asked:
        return None
    lengths = sorted({length for one in asked for length in one.found or {}})
    rows = tuple((one.scheme, tuple(_found(one, length) for length in lengths)) for one in asked)
    return Table("Passkeys found by length (95% interval)", ("scheme", *map(short, lengths)), rows)


def points(record: Record) -> Table | None:
    """The numbers behind the curve of perplexity."""
    if not record.rows:
        return None
    drawn = [curve(record, row) for row in record.rows]
    rows = tuple(
        (f"{at[0].start}-{at[0].stop}", tuple(number(math.exp(one.mean)) + _ends(one.low, one.high) for one in at))
        for at in zip(*drawn, strict=True)
    )
    head = ("position", *(row.scheme for row in record.rows))
    return Table("Perplexity and its 95% interval, by position (tokens)", head, rows)


def number(value: float) -> str:
    """Return a perplexity, as in the tables on the terminal."""
    return f"{value:.2f}" if value < 1000 else f"{value:.0f}" if value < 1e6 else f"{value:.1e}"


def _ends(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f" ({number(math.exp(low))} to {number(math.exp(high))})"


def _tax(one: Finding) -> str:
    if one.tax is None:
        return NONE
    if one.tax.low is None or one.tax.high is None:
        return percent(one.tax.value)
    return f"{percent(one.tax.value)} ({percent(one.tax.low)} to {percent(one.tax.high)})"


def _past(one: Finding) -> tuple[str, ...]:
    past = one.past
    if past is None:
        return NONE, NONE, NONE, NONE, one.beats or "not measured"
    return (
        f"{signed(past.mean, 3)} ({signed(past.low, 3)} to {signed(past.high, 3)})",
        percent(ratio(past.mean)),
        NONE if one.effect is None else signed(one.effect, 2),
        NONE if one.p_value is None else p_text(one.p_value),
        one.beats or "not measured",
    )


def p_text(value: float) -> str:
    """Return a p-value as it is read."""
    return f"{value:.3f}" if value >= 0.001 else "< 0.001"


def _found(one: Finding, length: int) -> str:
    shares = (one.found or {}).get(length)
    if shares is None:
        return NONE
    return f"{count(shares).replace(' of ', '/')} ({shares.low:.0%} to {shares.high:.0%})"
