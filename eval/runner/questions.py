"""Requests of lm-eval as questions, and the units of work that questions are answered in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rope_scaling.eval.store.keys import question_key


@dataclass(frozen=True)
class Question:
    """One document of a task: all that is asked of the model to score it.

    Attributes:
        key: the same for every scheme and in every run.
        task: its name.
        document: as the task made it.
        requests: lm-eval's, one for each choice where there are choices.
    """

    key: str
    task: str
    document: Mapping[str, Any]
    requests: tuple[Any, ...]

    @property
    def tokens(self) -> int:
        """What its longest request makes a model read, as far as the document tells."""
        return document_tokens(self.document)


def document_tokens(document: Mapping[str, Any]) -> int:
    """Return the tokens of a document and its answer, as a measure of work."""
    if "scored_tokens" in document:
        return int(document["prompt_tokens"]) + int(document["scored_tokens"])
    return document_length(document)


def document_length(document: Mapping[str, Any]) -> int:
    """Return the length that a document was made for; RULER's is the most that it may have."""
    return int(document["max_length"] if "max_length" in document else document["length"])


def questions(kind: str, requests: Sequence[Any]) -> list[Question]:
    """Return what requests of one kind ask, in order; one that comes again (padding between processes) asks nothing."""
    asked: dict[tuple[str, int], dict[int, Any]] = {}
    for request in requests:
        asked.setdefault((request.task_name, request.doc_id), {})[id(request)] = request
    found = []
    for (task, _), own in asked.items():
        together = tuple(own.values())
        key = question_key(kind, [request.args for request in together])
        found.append(Question(key, task, together[0].doc, together))
    return found


def units(asked: Sequence[Question], rows: int) -> Iterator[list[Question]]:
    """Yield what is answered, and kept, together.

    A unit is read on its own, so that its answers are the same to the last bit whatever was answered before it. It
    holds what shares most of its text: the depths of one length, the ranges of one text.

    Args:
        asked: in the order of the tasks.
        rows: questions that the model reads side by side; a unit has as many at least.
    """
    groups: dict[tuple[Any, ...], list[Question]] = {}
    for question in asked:
        groups.setdefault(_group(question), []).append(question)
    for group in groups.values():
        size = len(group)
        if "scored_tokens" not in group[0].document:
            size = max(rows, len({question.document.get("depth") for question in group}))
        for start in range(0, len(group), size):
            yield group[start : start + size]


def _group(question: Question) -> tuple[Any, ...]:
    document = question.document
    if "scored_tokens" in document:
        return question.task, "text", document.get("index")
    return question.task, document_length(document)
