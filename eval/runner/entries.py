"""What the record says of one scheme's answers to one task, made from lm-eval's samples."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from rope_scaling.eval.engine.finite import not_finite
from rope_scaling.eval.runner.questions import document_length
from rope_scaling.eval.store.keys import question_key

SHOWN = 400
"""Characters of a prompt's end."""

Entry = dict[str, Any]


def entry(samples: Sequence[Mapping[str, Any]], kind: str, truncated: Mapping[str, int]) -> Entry:
    """Return cells and answers.

    Args:
        samples: lm-eval's, of one task.
        kind: of its requests.
        truncated: how many requests lost their beginning, by kind.
    """
    answers = _in_order([_answer(sample, kind) for sample in samples])
    return {"cells": cells(answers), "answers": answers, "truncated_requests": dict(truncated), "seconds": 0.0}


def merged(earlier: Entry, later: Entry) -> Entry:
    """Return the answers of two runs of one task and scheme, each question once."""
    fresh = {answer["key"] for answer in later["answers"]}
    kept = [answer for answer in earlier["answers"] if answer["key"] not in fresh]
    answers = _in_order([*kept, *later["answers"]])
    share = len(kept) / len(earlier["answers"]) if kept else 0.0
    return {
        "cells": cells(answers),
        "answers": answers,
        "truncated_requests": earlier["truncated_requests"] | later["truncated_requests"],
        "seconds": round(share * earlier["seconds"] + later["seconds"], 2),
    }


def cells(answers: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the mean score of each length and depth; of texts, that of each token."""
    found = []
    for place, group in groupby(answers, key=_place):
        own = list(group)
        weights = [answer.get("tokens", 1) for answer in own]
        total = math.fsum(answer["score"] * weight for answer, weight in zip(own, weights, strict=True))
        found.append({**_named(place), "samples": len(own), "score": total / math.fsum(weights)})
    return found


def scores(samples: Iterable[Mapping[str, Any]]) -> dict[int, list[float]]:
    """Return what questions scored, by length."""
    found: dict[int, list[float]] = {}
    for sample in samples:
        found.setdefault(document_length(sample["doc"]), []).append(_score(sample)[0])
    return found


def _answer(sample: Mapping[str, Any], kind: str) -> dict[str, Any]:
    document = sample["doc"]
    score, tokens = _score(sample)
    if not math.isfinite(score):
        raise not_finite()
    return {
        "key": question_key(kind, sample["arguments"]),
        "length": document_length(document),
        "depth": document.get("depth"),
        "index": document.get("index"),
        "prompt_end": str(sample["arguments"][0][0])[-SHOWN:],
        "expected": _expected(document),
        "got": _got(sample),
        "score": score,
        **({} if tokens is None else {"tokens": tokens}),
    }


def _score(sample: Mapping[str, Any]) -> tuple[float, int | None]:
    """Return a share, or nats per token and how many tokens that is the mean of."""
    if "acc" in sample:
        return float(sample["acc"]), None
    nats = sample["nll"]
    if isinstance(nats, tuple | list):
        return float(nats[0]) / int(nats[1]), int(nats[1])
    return float(nats), 1


def _expected(document: Mapping[str, Any]) -> list[str]:
    told = document.get("answers") or document.get("outputs") or [document["answer"]]
    return [str(one) for one in told] if "scored_tokens" not in document else []


def _got(sample: Mapping[str, Any]) -> str:
    """Return the text that was written, the choice that was likeliest, or nothing for a text that was scored."""
    document, answers = sample["doc"], [one[0] for one in sample["resps"]]
    if "scored_tokens" in document:
        return ""
    if isinstance(answers[0], str):
        return answers[0]
    likeliest = max(range(len(answers)), key=lambda place: answers[place][0])
    return str(document["choices"][likeliest])


def _in_order(answers: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(answers, key=lambda answer: (*_place(answer), answer["index"] or 0))


def _place(answer: Mapping[str, Any]) -> tuple[int, float]:
    return answer["length"], -1.0 if answer["depth"] is None else answer["depth"]


def _named(place: tuple[int, float]) -> dict[str, Any]:
    length, depth = place
    return {"length": length, "depth": None if depth < 0 else depth}
