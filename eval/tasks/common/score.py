"""What an answer is worth, under `acc` and the question's length: the share of what was asked that it holds."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any


def told(answer: str, text: str) -> bool:
    """Whether `answer` stands in `text` by itself, not as a part of a longer word or number."""
    return re.search(rf"(?<![\w-]){re.escape(answer)}(?![\w-])", text, re.IGNORECASE) is not None


def generated(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
    """Return the share of the document's answers that the generated text tells, in any order (as RULER scores)."""
    share = sum(told(answer, results[0]) for answer in doc["answers"]) / len(doc["answers"])
    return {"acc": share, str(doc["length"]): share}


def chosen(doc: Mapping[str, Any], results: Sequence[tuple[float, bool]]) -> dict[str, float]:
    """Return 1 where the right one of the choices is the likeliest; a tie with a wrong one is none."""
    scores = [score for score, _ in results]
    right = scores[doc["gold"]]
    found = float(all(score < right for place, score in enumerate(scores) if place != doc["gold"]))
    return {"acc": found, str(doc["length"]): found}
