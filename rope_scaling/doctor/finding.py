"""What the doctor says about a checkpoint: findings, how bad they are, and the rules that look for them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from rope_scaling.doctor.facts import Facts


class Severity(str, Enum):
    """How bad a finding is."""

    NOTE = "note"
    WARNING = "warning"
    ERROR = "error"

    @property
    def exit_code(self) -> int:
        """What `rope-scaling inspect` exits with where this is the worst: 0, 1 or 2."""
        return list(Severity).index(self)


Evidence: TypeAlias = "Mapping[str, str | int | float | bool | None]"
"""The numbers that a finding rests on, by name."""


@dataclass(frozen=True)
class Symptom:
    """What a rule has seen.

    Attributes:
        seen: What stands in the checkpoint, in one sentence.
        consequence: What that does, in plain words, with a number where one can be computed.
        mend: The command or the edit that mends it.
        evidence: The numbers that it rests on.
        engines: What each engine makes of it, where they differ.
        severity: Where this case is milder or worse than the rule is in general.
    """

    seen: str
    consequence: str
    mend: str
    evidence: Evidence = field(default_factory=dict)
    engines: Mapping[str, str] = field(default_factory=dict)
    severity: Severity | None = None


@dataclass(frozen=True)
class Finding:
    """A symptom with the code and the severity of the rule that saw it."""

    code: str
    severity: Severity
    symptom: Symptom

    def as_dict(self) -> dict[str, object]:
        """The finding as JSON holds it."""
        return {
            "code": self.code,
            "severity": self.severity.value,
            "seen": self.symptom.seen,
            "consequence": self.symptom.consequence,
            "mend": self.symptom.mend,
            "evidence": dict(self.symptom.evidence),
            "engines": dict(self.symptom.engines),
        }


@dataclass(frozen=True)
class Rule:
    """Something that can be wrong with a checkpoint.

    Attributes:
        code: What it is called, short and stable.
        severity: How bad it is, unless a symptom says otherwise.
        about: What is wrong, in one sentence.
        why: What it does to the model and which engines read what, as the documentation tells it.
        look: Sees it, or not, in the facts; changes nothing.
    """

    code: str
    severity: Severity
    about: str
    why: str
    look: Callable[[Facts], Iterable[Symptom]]

    def findings(self, facts: Facts) -> list[Finding]:
        """Every case of it in these facts."""
        return [Finding(self.code, one.severity or self.severity, one) for one in self.look(facts)]
