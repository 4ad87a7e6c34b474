"""What a record says of each scheme: how far it sees, what it costs, whether it beats cutting the text."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import groupby

from rope_scaling.eval.compare import WINDOW
from rope_scaling.eval.report.blocks import difference, interval, within
from rope_scaling.eval.report.record import Cell, Keys, Range, Record, Row
from rope_scaling.eval.stats import (
    THRESHOLDS,
    Answer,
    EffectiveLength,
    Interval,
    PairedDifference,
    effective_length,
    holm,
    wilson,
)

LEVEL = 0.05
NEEDLE = THRESHOLDS["needle"]
_UNKNOWN = Interval(0, -math.inf, math.inf, 0.95, 0)


@dataclass(frozen=True)
class Tax:
    """Perplexity within L over the unscaled model's, minus 1, with its 95 % ends where blocks are enough."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Finding:
    """What is known of one scheme; None where it was not measured.

    Attributes:
        scheme: as typed.
        max_length: the length that it is made for.
        tax: what it costs on short texts.
        past: nats per token past L, minus `window`'s.
        effect: that difference over the standard deviation of blocks' differences.
        p_value: of no difference, corrected for as many schemes as were compared.
        beats: whether it beats `window` past L.
        reads: how far past L its perplexity is not worse than `window`'s.
        finds: how far it finds passkeys.
        found: the share of passkeys found at each length.
        truncated: passkey questions that lost their beginning.
    """

    scheme: str
    max_length: int | None = None
    tax: Tax | None = None
    past: PairedDifference | None = None
    effect: float | None = None
    p_value: float | None = None
    beats: Answer | None = None
    reads: EffectiveLength | None = None
    finds: EffectiveLength | None = None
    found: Mapping[int, Interval] | None = None
    truncated: int = 0

    @property
    def scaled(self) -> bool:
        """Whether it changes the model at all."""
        return is_scaled(self.scheme)


def is_scaled(scheme: str) -> bool:
    """Whether a row is neither the unpatched model nor the baseline."""
    return scheme.partition(":")[0] not in ("none", WINDOW)


def baseline(record: Record) -> Row | None:
    """Return `window`'s row."""
    return next((row for row in record.rows if row.scheme == WINDOW), None)


def findings(record: Record) -> tuple[Finding, ...]:
    """Return one for each scheme, in the order of the run."""
    rows = {row.scheme: row for row in record.rows if row.scheme != WINDOW}
    keys = {one.scheme: one for one in record.keys}
    asked = [one.scheme for task in record.tasks for one in task.schemes if one.scheme != WINDOW]
    found = [_finding(record, name, rows.get(name), keys.get(name)) for name in dict.fromkeys([*rows, *keys, *asked])]
    return tuple(_judged(found))


def _finding(record: Record, scheme: str, row: Row | None, keys: Keys | None) -> Finding:
    finding = Finding(scheme)
    if row is not None:
        finding = _past(record, row, replace(finding, max_length=row.max_length, tax=_tax(record, row)))
    if keys is not None:
        shares = {length: share(cells) for length, cells in by_length(keys.cells)}
        finds = effective_length(shares, NEEDLE)
        finding = replace(finding, found=shares, finds=finds, truncated=keys.truncated)
    return finding


def _tax(record: Record, row: Row) -> Tax | None:
    if row.tax is None or not is_scaled(row.scheme):
        return None
    plain = baseline(record) or next(one for one in record.rows if not is_scaled(one.scheme))
    ends = difference(record, row, plain, 0, record.length)
    return Tax(row.tax, *((ratio(ends.low), ratio(ends.high)) if ends else (None, None)))


def _past(record: Record, row: Row, finding: Finding) -> Finding:
    """Return the finding with what compares the row with `window`, where something does."""
    window, last = baseline(record), row.ranges[-1].stop
    if window is None or last <= record.length:
        return finding
    reads = {one.stop: _against(record, row, window, one) for one in row.ranges if one.stop > record.length}
    known = any(ends is not None for ends in reads.values())
    answers = effective_length({stop: ends or _UNKNOWN for stop, ends in reads.items()}, 0, at_most=True)
    return replace(
        finding,
        past=difference(record, row, window, record.length, last),
        effect=_effect(record, row, window),
        reads=answers if known else None,
    )


def _against(record: Record, row: Row, window: Row, place: Range) -> Interval | None:
    """Return nats per token minus `window`'s within a range of positions, as far as it lies past L."""
    ends = max(place.start, record.length), place.stop
    return interval(within(record, row, *ends) - within(record, window, *ends))


def _effect(record: Record, row: Row, window: Row) -> float | None:
    last = row.ranges[-1].stop
    blocks = within(record, row, record.length, last) - within(record, window, record.length, last)
    spread = blocks.std().item() if blocks.numel() > 1 else 0.0
    mean = blocks.mean().item()
    return mean / spread if spread > abs(mean) / 1e6 else None  # what is below is the rounding of equal differences


def _judged(found: list[Finding]) -> Iterable[Finding]:
    compared = [one.past.p_value for one in found if one.past]
    corrected = iter(holm(compared))
    for one in found:
        if one.past is None:
            yield one
            continue
        p_value = next(corrected)
        beats: Answer = "undecided"
        if p_value < LEVEL and (one.past.high < 0 or one.past.low > 0):
            beats = "yes" if one.past.high < 0 else "no"
        yield replace(one, p_value=p_value, beats=beats)


def ratio(nats: float) -> float:
    """Return by which share perplexity changes; an interval of few blocks may reach beyond all floats."""
    return math.expm1(min(nats, 700))


def by_length(cells: Iterable[Cell]) -> list[tuple[int, list[Cell]]]:
    """Return the cells of each length, shortest first."""
    ordered = sorted(cells, key=lambda cell: (cell.length, cell.depth))
    return [(length, list(group)) for length, group in groupby(ordered, key=lambda cell: cell.length)]


def share(cells: Iterable[Cell]) -> Interval:
    """Return the share of keys found in some cells, with Wilson's 95 % interval."""
    each = [(cell.accuracy * cell.samples, cell.samples) for cell in cells]
    asked = sum(samples for _, samples in each)
    right = min(math.fsum(found for found, _ in each), asked)
    return Interval(right / asked, *wilson(right, asked), 0.95, asked)
