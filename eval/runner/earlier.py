"""What a run has recorded so far, checked to be whole before a command adds to it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from rope_scaling.eval.compare import WINDOW
from rope_scaling.eval.report.reading import Part
from rope_scaling.eval.report.record import parse_record
from rope_scaling.schemes import parse_scheme

REMEDY = (
    "restore the file, or remove it alone and give the commands of the run again: the answers beside it are kept, "
    "nothing is computed twice"
)


def check_earlier(value: dict[str, Any], file: Path) -> None:
    """Raise ValueError where a record is not as it was written; the message names file and field, and what to do.

    Reports say what they need themselves; beside it stands here what a command goes on from.
    """
    root = Part(value, str(file), remedy=REMEDY)
    _refuse_not_finite(root, value)
    parse_record(root)
    root.lists_of_strings("commands")
    for key in ("checkpoint", "versions", "settings"):
        root.part(key)
    if "rows" in root:
        _check_text(root)
    for _, task in root.part("tasks").named() if "tasks" in root else ():
        _check_task(task)
    for _, keys in root.part("passkey").named() if "passkey" in root else ():
        for row in keys.parts("accuracy"):
            row.count("length", 1)
            row.count("samples", 1)
            row.share("accuracy")


def _check_text(root: Part) -> None:
    root.part("text")
    root.part("window")
    for length in root.items("lengths"):
        if not isinstance(length, int) or isinstance(length, bool):
            raise root.broken(f"has 'lengths' with {length!r:.40}, which is no count")
    for row in root.parts("rows"):
        scheme = row.text("scheme")
        try:
            if scheme != WINDOW:
                parse_scheme(scheme)
        except (TypeError, ValueError) as error:
            raise row.broken(f"has 'scheme' = {scheme!r:.40} ({error})") from None


def _check_task(task: Part) -> None:
    task.part("options")
    for _, entry in task.part("schemes").named():
        entry.number("seconds")
        for answer in entry.parts("answers", some=False):
            if not answer.empty("index"):
                answer.count("index")
            if "tokens" in answer:
                answer.count("tokens", 1)


def _refuse_not_finite(root: Part, value: Any) -> None:
    """Raise ValueError for a number that JSON does not have: hours later the record could not be written again."""
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        raise root.broken(f"has {_where(value, '')!r} that is no finite number") from None


def _where(value: Any, place: str) -> str:
    """Return the place of the first number that is not finite."""
    if isinstance(value, float) and not math.isfinite(value):
        return place
    named = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return next((found for key, one in named if (found := _where(one, f"{place}.{key}".lstrip(".")))), "")
