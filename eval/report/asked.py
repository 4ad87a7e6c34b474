"""Tasks of a record: what each scheme was asked, what it answered, and what the answers are worth."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from rope_scaling.eval.report.reading import Part

Threshold = Literal["ruler", "needle"]
_THRESHOLDS: dict[str, Threshold] = {"ruler": "ruler", "needle": "needle"}
_CLOSE = 1e-4
"""A share that was rounded for the record."""
_MOST_NATS = 300
"""A token, as in `record`."""


@dataclass(frozen=True)
class Answer:
    """One question and its answer.

    Attributes:
        key: of the question, the same for every scheme and in every run.
        length: of the prompt and the answer's room, in tokens.
        depth: where the needle stands, 0 the beginning and 1 the end; None where a question has no such place.
        prompt: the prompt's end.
        expected: what had to be told.
        got: what was told.
        score: from 0 to 1, or nats per token.
        blocks: nats per token of blocks of neighbouring tokens, where the task is scored so and they are known.
    """

    key: str
    length: int
    depth: float | None
    prompt: str
    expected: tuple[str, ...]
    got: str
    score: float
    blocks: tuple[float, ...] = ()


@dataclass(frozen=True)
class Score:
    """The mean over the questions of one length and one depth."""

    length: int
    depth: float | None
    samples: int
    mean: float


@dataclass(frozen=True)
class Asked:
    """One scheme's answers to one task, and how many requests lost their beginning."""

    scheme: str
    scores: tuple[Score, ...]
    answers: tuple[Answer, ...]
    truncated: int


@dataclass(frozen=True)
class Task:
    """One task.

    Attributes:
        name: lm-eval's.
        metric: what a score is.
        higher_is_better: whether it is good to be high; if not, scores are nats.
        threshold: which of `THRESHOLDS` says that a scheme holds; None for none.
        chance: the score of guessing; None where it is none or unknown.
        schemes: one for each scheme that was asked, in order.
    """

    name: str
    metric: str
    higher_is_better: bool
    threshold: Threshold | None
    chance: float | None
    schemes: tuple[Asked, ...]

    @property
    def lengths(self) -> list[int]:
        """Every length that some scheme was asked at."""
        return sorted({score.length for asked in self.schemes for score in asked.scores})

    @property
    def has_depth(self) -> bool:
        """Whether questions have a place in the text."""
        return any(score.depth is not None for asked in self.schemes for score in asked.scores)

    def asked(self, scheme: str) -> Asked | None:
        """Return one scheme's answers."""
        return next((one for one in self.schemes if one.scheme == scheme), None)


def read_tasks(root: Part) -> tuple[Task, ...]:
    """Return what a record's `tasks` hold."""
    return tuple(_task(name, part) for name, part in root.part("tasks").named())


def _task(name: str, part: Part) -> Task:
    higher = part.flag("higher_is_better")
    return Task(
        name=name,
        metric=part.text("metric"),
        higher_is_better=higher,
        threshold=_threshold(part) if higher else None,
        chance=None if part.empty("chance") else part.share("chance"),
        schemes=tuple(_asked(scheme, one, higher) for scheme, one in part.part("schemes").named()),
    )


def _threshold(part: Part) -> Threshold | None:
    if part.empty("threshold"):
        return None
    told = part.text("threshold")
    if told not in _THRESHOLDS:
        raise part.broken(f"has 'threshold' = {told!r:.40}, which is none of {', '.join(_THRESHOLDS)}")
    return _THRESHOLDS[told]


def _asked(scheme: str, part: Part, higher: bool) -> Asked:
    answers = tuple(_answer(one, higher) for one in part.parts("answers", some=False))
    keys = [answer.key for answer in answers]
    if len(set(keys)) < len(keys):
        raise part.broken("has two answers to one question")
    scores = tuple(_score(one, higher) for one in part.parts("cells"))
    if higher and answers:
        _check_counted(part, scores, answers)
    truncated = part.part("truncated_requests")
    return Asked(
        scheme=scheme,
        scores=scores,
        answers=answers,
        truncated=sum(truncated.count(kind) for kind, _ in truncated),
    )


def _check_counted(part: Part, scores: tuple[Score, ...], answers: tuple[Answer, ...]) -> None:
    """Tables come from the cells and comparisons from the answers, so both must tell the same."""
    told: dict[tuple[int, float | None], list[float]] = {}
    for answer in answers:
        told.setdefault((answer.length, answer.depth), []).append(answer.score)
    counted = {(score.length, score.depth): (score.samples, score.mean) for score in scores}
    for place in {**told, **counted}:
        each, (samples, mean) = told.get(place, []), counted.get(place, (0, 0.0))
        if len(each) != samples or abs(math.fsum(each) - mean * samples) > _CLOSE * samples:
            depth = "" if place[1] is None else f", depth {place[1]:g}"
            raise part.broken(f"has answers at {place[0]} tokens{depth}, that its cells do not count")


def _score(part: Part, higher: bool) -> Score:
    return Score(part.count("length", 1), _depth(part), part.count("samples", 1), _value(part, higher))


def _answer(part: Part, higher: bool) -> Answer:
    return Answer(
        key=part.text("key"),
        length=part.count("length", 1),
        depth=_depth(part),
        prompt=part.text("prompt_end"),
        expected=tuple(part.strings("expected", some=False)),
        got=part.text("got"),
        score=_value(part, higher),
        blocks=() if "block_nll" not in part or part.empty("block_nll") else part.numbers("block_nll", _MOST_NATS),
    )


def _depth(part: Part) -> float | None:
    return None if part.empty("depth") else part.share("depth")


def _value(part: Part, higher: bool) -> float:
    if higher:
        return part.share("score")
    value = part.number("score")
    if abs(value) > _MOST_NATS:
        raise part.broken(f"has 'score' = {value:g} nats, which nothing can have scored")
    return value
