"""The verdict on a scheme as one sentence, and its three answers in a word or two each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rope_scaling.eval.bins import short
from rope_scaling.eval.report.findings import Finding, baseline
from rope_scaling.eval.report.numerals import count, percent, signed
from rope_scaling.eval.report.record import Record
from rope_scaling.eval.report.task_words import (
    holds_clause,
    holds_label,
    overall_clause,
    versus_clause,
    versus_label,
)
from rope_scaling.eval.report.tasks import TaskFinding
from rope_scaling.eval.stats import EffectiveLength


@dataclass(frozen=True)
class Verdict:
    """One scheme.

    Attributes:
        scheme: as typed.
        sees: how far, as a label.
        costs: what short texts pay, as a label.
        beats: `yes`, `no`, `undecided` or `not measured`.
        answers: on how many tasks it answers more than the unpatched model past L; empty where nothing tells.
        sentence: all of it, to be read after the scheme's name and a colon.
        notes: what keeps the numbers from meaning what they seem to.
    """

    scheme: str
    sees: str
    costs: str
    beats: str
    answers: str
    sentence: str
    notes: tuple[str, ...]


def verdict(
    record: Record, finding: Finding, tasks: Sequence[TaskFinding] = (), whole: TaskFinding | None = None
) -> Verdict:
    """Put a finding, and what the tasks say of the same scheme, into words."""
    holds, versus = holds_clause(tasks, finding.scheme), versus_clause(record, tasks, finding.scheme)
    clauses = [part for part in (overall_clause(record, whole, finding.scheme), holds, versus) if part]
    if finding.found or finding.reads or not clauses:
        clauses.insert(0, _sees(record, finding))
    if record.rows or not record.tasks:
        clauses += [_costs(record, finding)] if finding.scaled else []
        clauses.append(_beats(record, finding))
    return Verdict(
        finding.scheme,
        _sees_label(record, finding, holds_label(tasks, finding.scheme)),
        _costs_label(finding),
        finding.beats or "not measured",
        versus_label(tasks, finding.scheme) or "",
        f"{'; '.join(clauses)}.",
        tuple(_notes(record, finding)),
    )


def _sees(record: Record, finding: Finding) -> str:
    if finding.finds is not None and finding.found:
        return _finds(finding.finds, finding)
    if finding.reads is None:
        return "was not asked how far it sees"
    reads, last = finding.reads, max(finding.reads.answers)
    if reads.at_most == 0:
        return f"predicts worse than cutting the text as soon as it is past {short(record.length)}"
    beyond = "" if reads.at_most == last else ", but not beyond"
    if reads.at_least == reads.at_most:
        return f"predicts no worse than cutting the text up to {short(reads.at_most)}{beyond}"
    return f"is not seen to predict worse than cutting the text up to {short(reads.at_most)}{beyond}"


def _finds(finds: EffectiveLength, finding: Finding) -> str:
    """How far it finds nine passkeys of ten."""
    assert finding.found
    lengths = sorted(finding.found)
    if finds.at_most == 0:
        return f"loses passkeys already at {short(lengths[0])} ({count(finding.found[lengths[0]])} found)"
    there = finding.found[finds.at_most]
    after = [length for length in lengths if length > finds.at_most]
    but = f", but not to {short(after[0])} ({count(finding.found[after[0]])})" if after else ""
    if finds.decided:
        return f"sees to {short(finds.at_most)} ({count(there)} passkeys found there){but}"
    sure = f"sees to {short(finds.at_least)}, and " if finds.at_least else "sees "
    told = f"as far as {there.count} questions can tell ({count(there)} passkeys found there)"
    return f"{sure}to {short(finds.at_most)} {told}{but}"


def _costs(record: Record, finding: Finding) -> str:
    tax, where = finding.tax, f"within {short(record.length)}"
    if tax is None:
        return f"costs on texts {where} what was not measured"
    if tax.low is None or tax.high is None:
        return f"changes perplexity {where} by {percent(tax.value)} (too few tokens for an interval)"
    ends = f"95% {percent(tax.low)} to {percent(tax.high)}"
    if tax.low == tax.high == 0:
        return f"costs nothing on texts {where} (equal scores)"
    if tax.low > 0:
        return f"costs {_bare(tax.value)} perplexity on texts {where} ({ends})"
    if tax.high < 0:
        return f"improves perplexity on texts {where} by {_bare(tax.value)} ({ends})"
    return f"costs nothing that shows on texts {where} ({percent(tax.value)}, {ends})"


def _bare(value: float) -> str:
    return percent(abs(value)).removeprefix("+")


def _beats(record: Record, finding: Finding) -> str:
    cutting = f"cutting the text to its last {short(record.length)} tokens"
    if finding.past is None or finding.beats is None:
        return f"whether it beats {cutting} was not measured ({_unmeasured(record, finding)})"
    past = finding.past
    amount = f"{signed(past.mean, 3)} nats a token, 95% {signed(past.low, 3)} to {signed(past.high, 3)}"
    if finding.beats == "yes":
        return f"beats {cutting} ({amount})"
    if finding.beats == "no":
        return f"does not beat simply {cutting} ({amount})"
    return f"whether it beats simply {cutting} is undecided ({amount})"


def _unmeasured(record: Record, finding: Finding) -> str:
    row = next((row for row in record.rows if row.scheme == finding.scheme), None)
    if row is None:
        return "no text was scored: --text and --lengths"
    if row.ranges[-1].stop <= record.length:
        return f"no token past {short(record.length)} was scored: longer --lengths"
    if baseline(record) is None:
        return "`window` was not run"
    return "too few tokens: longer --lengths or more --texts"


def _sees_label(record: Record, finding: Finding, holds: str | None) -> str:
    if holds is not None:
        return holds
    if finding.finds is not None and finding.found:
        if finding.finds.at_most == 0:
            return f"not to {short(min(finding.found))}"
        far = short(finding.finds.at_most)
        return far if finding.finds.decided else f"{far}, undecided"
    if finding.reads is not None:
        return short(finding.reads.at_most) if finding.reads.at_most else f"not past {short(record.length)}"
    return "not asked"


def _costs_label(finding: Finding) -> str:
    if not finding.scaled:
        return "nothing (unpatched)"
    if finding.tax is None:
        return "not measured"
    return "nothing" if finding.tax.low == finding.tax.high == 0 else percent(finding.tax.value)


def _notes(record: Record, finding: Finding) -> list[str]:
    notes = []
    reached = list(finding.found or ())
    reached += [row.ranges[-1].stop for row in record.rows if row.scheme == finding.scheme]
    asked = [one for task in record.tasks if (one := task.asked(finding.scheme))]
    reached += [score.length for one in asked for score in one.scores]
    if finding.max_length is not None and finding.max_length < max(reached):
        notes.append(f"Made for {short(finding.max_length)} tokens, measured to {short(max(reached))}.")
    if finding.truncated:
        notes.append(f"{finding.truncated} passkey questions were longer than the model and lost their beginning.")
    lost = sum(one.truncated for one in asked)
    if lost:
        notes.append(f"{lost} requests of tasks were longer than the model and lost their beginning.")
    return notes
