"""A line of answers as it is read back: of the kinds that were written, or refused with its place."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def broken(place: str, what: str) -> ValueError:
    """Return the error that names file and line, and says what to do."""
    return ValueError(
        f"{place}: {what}. Remove this line, and what it holds is computed again; or restore the file, or choose "
        "another --output"
    )


def check_line(line: Mapping[str, Any], place: str) -> None:
    """Raise ValueError for a line whose values are not of the kinds that are written."""
    if "answers" not in line:  # what a model is, for people
        return
    if not isinstance(line.get("model"), str):
        raise broken(place, f"'model' = {line.get('model')!r:.40} is no text")
    seconds = line.get("seconds", 0.0)
    if not _is_number(seconds) or seconds < 0:
        raise broken(place, f"'seconds' = {str(seconds)[:40]} is no time")
    answers, nll = line["answers"], line.get("nll", {})
    if not isinstance(answers, dict):
        raise broken(place, f"'answers' = {answers!r:.40} is no object")
    for key, answer in answers.items():
        if not _is_answer(answer):
            raise broken(place, f"'answers' has {key!r:.40} = {str(answer)[:60]}, which is no answer")
    if not isinstance(nll, dict) or not all(isinstance(one, str) for one in nll.values()):
        raise broken(place, "'nll' is no object of texts")


def fits(kind: str, answer: Any, requests: int) -> bool:
    """Whether an answer that was read back is one to a question of this kind.

    Args:
        kind: as lm-eval has it: `loglikelihood`, `generate_until`.
        answer: read back.
        requests: of the question.
    """
    if not isinstance(answer, list) or len(answer) != requests:
        return False
    types = {"loglikelihood": list, "generate_until": str}
    return all(isinstance(one, types.get(kind, (int, float))) for one in answer)


def _is_answer(value: Any) -> bool:
    """Whether it is a text's scores, or a list: texts, numbers, or log-likelihoods with whether they are greedy."""
    if isinstance(value, str):
        return True
    return isinstance(value, list) and all(isinstance(one, str) or _is_number(one) or _is_pair(one) for one in value)


def _is_pair(value: Any) -> bool:
    if not isinstance(value, list) or len(value) != 2:
        return False
    return _is_number(value[0]) and isinstance(value[1], bool)


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond all floats
        return False
