"""From two records to one judgement, on the terminal or as JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from rope_scaling.eval.comparison.rows import Comparison, Row, compared
from rope_scaling.eval.comparison.schemes import matched
from rope_scaling.eval.comparison.terminal import print_comparison
from rope_scaling.eval.report.commands import checkpoint_name, command
from rope_scaling.eval.report.record import Record, read_record, record_file


@dataclass(frozen=True)
class CompareJob:
    """One call of `rope-scaling compare`.

    Attributes:
        run_a: what `rope-scaling eval -o` wrote, a file or the folder of a run.
        run_b: the other, judged against the first.
        scheme_a: of run A; all that both runs have unless given.
        scheme_b: of run B.
        json: whether to print one JSON object instead of a table.
    """

    run_a: Path
    run_b: Path
    scheme_a: str | None = None
    scheme_b: str | None = None
    json: bool = False

    def __post_init__(self) -> None:
        if self.scheme_a == self.scheme_b and record_file(self.run_a).resolve() == record_file(self.run_b).resolve():
            raise ValueError(
                f"{self.run_a} is compared with itself: say --scheme-a and --scheme-b, or name another run"
            )


def run_compare(job: CompareJob, out: Console) -> int:
    """Print the judgement; return 1 where B is worse than A in any row, else 0.

    Raises:
        ValueError: A record cannot be read, or nothing in the two can be paired.
    """
    first, second = read_record(job.run_a), read_record(job.run_b)
    told = compared(first, second, matched(first, second, job.scheme_a, job.scheme_b))
    if job.json:
        out.out(json.dumps(as_value(first, second, told), indent=1, allow_nan=False), highlight=False)
    else:
        print_comparison(out, first, second, told)
    return int(any(row.outcome == "worse" for row in told.rows))


def as_value(first: Record, second: Record, told: Comparison) -> dict[str, Any]:
    """Return everything as plain values."""
    return {
        "kind": "rope-scaling compare",
        "format": 1,
        "a": _run(first),
        "b": _run(second),
        "rows": [_row(row) for row in told.rows],
        "unpaired": list(told.unpaired),
    }


def _run(record: Record) -> dict[str, Any]:
    return {
        "checkpoint": checkpoint_name(record),
        **record.about,
        "versions": dict(record.versions),
        "command": command(record),
    }


def _row(row: Row) -> dict[str, Any]:
    told = row.difference
    return {
        "what": row.what,
        "place": row.place,
        "scheme_a": row.scheme_a,
        "scheme_b": row.scheme_b,
        "pairs": row.pairs,
        "blocks": row.blocks,
        "left_out_a": row.left_out[0],
        "left_out_b": row.left_out[1],
        "unit": "nats per token" if row.nats else "share",
        "a": row.score_a,
        "b": row.score_b,
        "difference": None if told is None else {"mean": told.mean, "low": told.low, "high": told.high},
        "p_value": None if told is None else told.p_value,
        "p_value_holm": row.p_value,
        "b_is": row.outcome,
    }
