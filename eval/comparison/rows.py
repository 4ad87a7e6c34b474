"""The comparisons of two runs: each task at each length, and each range of positions of the text."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from rope_scaling.eval.bins import Bin, short
from rope_scaling.eval.comparison.texts import text_blocks
from rope_scaling.eval.report.asked import Answer, Asked, Task
from rope_scaling.eval.report.pairs import Outcome, Pair, blocks, by_blocks, difference, outcome, pair
from rope_scaling.eval.report.record import Record
from rope_scaling.eval.stats import PairedDifference, averaged, holm, paired_blocks
from rope_scaling.eval.verdict import LEAST_BLOCKS

TEXT = "perplexity"


@dataclass(frozen=True)
class Row:
    """One comparison; `None` where the pairs are too few to tell.

    Attributes:
        what: the task, or `perplexity`.
        place: its length, or the range of positions.
        scheme_a: of run A.
        scheme_b: of run B.
        pairs: questions, or blocks of tokens, that both have.
        score_a: mean over the pairs, a share or nats per token.
        score_b: the same of B.
        nats: whether scores are nats, so that lower is better.
        difference: B minus A.
        p_value: corrected by Holm for all rows.
        outcome: what B is against A.
        left_out: questions of A and of B that the other was not asked.
        blocks: of tokens that scores and difference are means of; None where they are of whole questions.
    """

    what: str
    place: str
    scheme_a: str
    scheme_b: str
    pairs: int
    score_a: float
    score_b: float
    nats: bool
    difference: PairedDifference | None
    p_value: float | None = None
    outcome: Outcome = "undecided"
    left_out: tuple[int, int] = (0, 0)
    blocks: int | None = None


@dataclass(frozen=True)
class Comparison:
    """All rows, and what could not be paired with the reason."""

    rows: tuple[Row, ...]
    unpaired: tuple[str, ...]


def compared(first: Record, second: Record, schemes: Sequence[tuple[str, str]]) -> Comparison:
    """Return what can be paired, corrected for all of it, and what cannot.

    Raises:
        ValueError: Nothing can.
    """
    found: list[Row | str] = []
    for scheme_a, scheme_b in schemes:
        found += _text_rows(first, second, scheme_a, scheme_b)
        found += _task_rows(first, second, scheme_a, scheme_b)
        found += _together(first, second, scheme_a, scheme_b)
    rows = [one for one in found if isinstance(one, Row)]
    unpaired = tuple(dict.fromkeys(one for one in found if isinstance(one, str)))
    if not rows:
        raise ValueError(f"nothing in these runs can be paired: {'; '.join(unpaired) or 'they have nothing in common'}")
    return Comparison(tuple(_judged(rows)), unpaired)


def _judged(rows: Sequence[Row]) -> Iterator[Row]:
    corrected = iter(holm([row.difference.p_value for row in rows if row.difference]))
    for row in rows:
        if row.difference is None:
            yield row
            continue
        p_value = next(corrected)
        yield replace(row, p_value=p_value, outcome=outcome(row.difference, p_value, not row.nats))


def _text_rows(first: Record, second: Record, scheme_a: str, scheme_b: str) -> Iterator[Row | str]:
    if not first.rows and not second.rows:
        return
    told = text_blocks(first, second, scheme_a, scheme_b)
    if isinstance(told, str):
        yield told
        return
    for (start, stop), ours, theirs in told:
        paired = ours.numel() >= LEAST_BLOCKS
        yield Row(
            *(TEXT, Bin(start, stop).label, scheme_a, scheme_b, ours.numel()),
            *(ours.mean().item(), theirs.mean().item(), True),
            paired_blocks(theirs, ours) if paired else None,
            blocks=ours.numel(),
        )


def _task_rows(first: Record, second: Record, scheme_a: str, scheme_b: str) -> Iterator[Row | str]:
    if first.keys or second.keys:
        yield "passkeys: a record holds how many were found, not which; ask for them by --tasks rope_passkey"
    tasks = {task.name: task for task in second.tasks}
    for task in first.tasks:
        other = tasks.pop(task.name, None)
        if other is None:
            yield f"{task.name}: only in run A"
            continue
        if (task.metric, task.higher_is_better) != (other.metric, other.higher_is_better):
            yield f"{task.name}: scored by {task.metric} in run A and by {other.metric} in run B"
            continue
        asked, others = task.asked(scheme_a), other.asked(scheme_b)
        if asked is None or others is None:
            missing = f"{scheme_a} in run A" if asked is None else f"{scheme_b} in run B"
            yield f"{task.name}: not asked under {missing}"
            continue
        yield from _lengths(task, asked, others)
    yield from (f"{name}: only in run B" for name in tasks)


def _lengths(task: Task, asked: Asked, others: Asked) -> Iterator[Row | str]:
    if not (pairs := pair(others.answers, asked.answers)):
        why = "holds no single answers" if not (asked.answers and others.answers) else "shares no question"
        hint = "" if why.startswith("holds") else " (another seed, tokenizer, length or version of the task)"
        yield f"{task.name}, {asked.scheme} and {others.scheme}: {why}{hint}"
        return
    for length in sorted({one.length for one, _ in pairs}):
        yield _task_row(task, asked, others, length, [both for both in pairs if both[0].length == length])


def _task_row(task: Task, asked: Asked, others: Asked, length: int, pairs: Sequence[Pair]) -> Row:
    """Compare at one length; B comes first in each pair, for the difference is B minus A."""
    ours, theirs, paired = _scores([one for _, one in pairs]), _scores([one for one, _ in pairs]), None
    if not task.higher_is_better and by_blocks(pairs):
        ours, theirs = blocks(one for _, one in pairs), blocks(one for one, _ in pairs)
        paired = len(ours)
    return Row(
        *(task.name, short(length), asked.scheme, others.scheme, len(pairs)),
        *(math.fsum(ours) / len(ours), math.fsum(theirs) / len(theirs)),
        not task.higher_is_better,
        difference(pairs, task.higher_is_better),
        left_out=(_at(asked, length) - len(pairs), _at(others, length) - len(pairs)),
        blocks=paired,
    )


def _together(first: Record, second: Record, scheme_a: str, scheme_b: str) -> Iterator[Row]:
    """Compare the questions of all tasks as one, each counting the same, at lengths that all were asked.

    Tasks that guessing answers are left out where there are two that it does not.
    """
    others = {task.name: task for task in second.tasks if task.higher_is_better}
    scored = []
    for task in first.tasks:
        other = others.get(task.name) if task.higher_is_better else None
        ours, theirs = task.asked(scheme_a), other and other.asked(scheme_b)
        if ours and theirs:
            scored.append((task, pair(theirs.answers, ours.answers)))
    each = [pairs for _, pairs in averaged([one for one in scored if one[1]], lambda one: one[0].chance)]
    if not each:
        return
    for length in sorted(set.intersection(*({one.length for one, _ in pairs} for pairs in each))):
        some = [both for pairs in each for both in pairs if both[0].length == length]
        score_a, score_b = _scores([one for _, one in some]), _scores([one for one, _ in some])
        yield Row(
            *(f"{len(each)} tasks together", short(length), scheme_a, scheme_b, len(some)),
            *(math.fsum(score_a) / len(some), math.fsum(score_b) / len(some), False),
            difference(some, higher_is_better=True),
        )


def _at(asked: Asked, length: int) -> int:
    return sum(answer.length == length for answer in asked.answers)


def _scores(answers: Sequence[Answer]) -> list[float]:
    return [answer.score for answer in answers]
