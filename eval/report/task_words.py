"""What a scheme does on all tasks, as clauses of its verdict."""

from __future__ import annotations

from collections.abc import Sequence

from rope_scaling.eval.bins import short
from rope_scaling.eval.report.numerals import signed
from rope_scaling.eval.report.record import Record
from rope_scaling.eval.report.tasks import PLAIN, Held, Place, TaskFinding, Versus
from rope_scaling.eval.stats import EffectiveLength

_FEW = 2
"""Tasks of which a sentence tells the scores too."""
_MANY = 4
"""Tasks that a sentence still names."""


def holds_clause(found: Sequence[TaskFinding], scheme: str) -> str | None:
    """Say how far a scheme holds on each task: one clause for all tasks of one answer."""
    told = [(one.task.name, held) for one in found if (held := one.held(scheme)) is not None and held.holds]
    if not told:
        return None
    groups: dict[str, list[str]] = {}
    for name, held in told:
        groups.setdefault(_held(held, len(told) <= _FEW), []).append(name)
    return ", ".join(f"{text} on {_listed(names)}" for text, names in groups.items())


def overall_clause(record: Record, whole: TaskFinding | None, scheme: str) -> str | None:
    """Say how far a scheme holds on the mean of all tasks, and whether it answers more than the unpatched model."""
    held = whole.held(scheme) if whole else None
    if whole is None or held is None or held.holds is None:
        return None
    told = f"{_held(held, with_score=False)} on the {whole.task.name}{_means(held)}"
    versus = whole.against(scheme, PLAIN, "past")
    return told if versus is None else f"{told}, past {short(record.length)} {_against(versus)}"


def holds_label(found: Sequence[TaskFinding], scheme: str) -> str | None:
    """Say in a word or two how far a scheme holds: from the least of the tasks to the most."""
    told = [held.holds for one in found if (held := one.held(scheme)) is not None and held.holds]
    if not told:
        return None
    low, high = min(one.at_most for one in told), max(one.at_most for one in told)
    if high == 0:
        return f"not to {short(min(min(one.answers) for one in told))}"
    reach = short(high) if low == high else f"up to {short(high)}, by task"
    return reach if all(one.decided for one in told) else f"{reach}, undecided"


def versus_clause(record: Record, found: Sequence[TaskFinding], scheme: str) -> str | None:
    """Say on how many tasks a scheme does better past L than the unpatched model, and on how many worse."""
    told = _against_plain(found, scheme, "past")
    if not told:
        return None
    parts = []
    for outcome in ("better", "worse", "undecided"):
        names = [name for name, one in told if one.outcome == outcome]
        if names:
            parts.append(f"{outcome} on {_listed(names)}")
    return f"past {short(record.length)}, question by question against {PLAIN}: {', '.join(parts)}"


def versus_label(found: Sequence[TaskFinding], scheme: str) -> str | None:
    """Count the tasks on which a scheme does better past L than the unpatched model."""
    told = [one.outcome for _, one in _against_plain(found, scheme, "past")]
    if not told:
        return None
    parts = [f"{told.count(outcome)} {outcome}" for outcome in ("better", "worse", "undecided") if outcome in told]
    return ", ".join(parts)


def _means(held: Held) -> str:
    return f" ({', '.join(f'{one.mean:.0%} at {short(at)}' for at, one in held.by_length.items())})"


def _against(versus: Versus) -> str:
    told = versus.difference
    ends = f"{signed(100 * told.mean, 0)} points, 95% {signed(100 * told.low, 0)} to {signed(100 * told.high, 0)}"
    outcome = "undecided against" if versus.outcome == "undecided" else f"{versus.outcome} than"
    return f"{outcome} {PLAIN} on all questions together ({ends})"


def _against_plain(found: Sequence[TaskFinding], scheme: str, place: Place) -> list[tuple[str, Versus]]:
    each = ((one.task.name, one.against(scheme, PLAIN, place)) for one in found)
    return [(name, versus) for name, versus in each if versus is not None]


def _held(held: Held, with_score: bool) -> str:
    assert held.holds is not None
    holds, lengths = held.holds, list(held.holds.answers)
    if holds.at_most == 0:
        return f"does not hold {short(lengths[0])}{_percent(held, lengths[0], with_score)}"
    text = _sure(holds) + _percent(held, holds.at_most, with_score)
    after = [length for length in lengths if length > holds.at_most]
    return text + (f", but not {short(after[0])}{_percent(held, after[0], with_score)}" if after and with_score else "")


def _sure(holds: EffectiveLength) -> str:
    far = short(holds.at_most)
    if holds.decided:
        return f"holds {far}"
    return f"holds {short(holds.at_least)} and perhaps {far}" if holds.at_least else f"perhaps holds {far}"


def _percent(held: Held, length: int, shown: bool) -> str:
    one = held.by_length[length]
    return f" ({one.mean:.0%} of {one.count})" if shown else ""


def _listed(names: Sequence[str]) -> str:
    if len(names) > _MANY:
        return f"{len(names)} tasks"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
