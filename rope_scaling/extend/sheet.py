"""`rope_scaling.json`: what was done to a folder, and how it is undone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rope_scaling.extend.changes import Change
from rope_scaling.extend.documents import parse_document
from rope_scaling.extend.publish import RECORD
from rope_scaling.extend.serving import Serving

CHANGED = ("config.json", "generation_config.json", "tokenizer_config.json", "README.md")
"""All that a scaling changes in a folder."""
_HOW = (
    "rope-scaling extend FOLDER --undo -o RESTORED; or by hand: in each file, put `before` where `after` stands, and "
    "remove the files whose `before` is null, and this one"
)


def write_sheet(done: dict[str, Any], served: Sequence[Serving], changes: Sequence[Change]) -> bytes:
    """The file's bytes."""
    engines = {
        one.engine: {"refused": one.refusal} if one.refusal is not None else {"serve": one.at("FOLDER")}
        for one in served
    }
    sheet = done | {"engines": engines, "undo": _HOW, "changes": [asdict(change) for change in changes]}
    return (json.dumps(sheet, indent=2) + "\n").encode("ascii")


def read_sheet(held: bytes) -> list[Change]:
    """The changes that the file records.

    Raises:
        ValueError: It was edited, or comes from another version.
    """
    told = parse_document(RECORD, held).get("changes")
    try:
        changes = [Change(**one) for one in told or []]
    except TypeError as error:
        raise ValueError(f"{RECORD} cannot be read ({error}): it was edited, or another version wrote it") from None
    for change in changes:
        texts = (change.file, change.after, change.sha256_before, change.sha256_after)
        sound = all(isinstance(text, str) for text in texts) and isinstance(change.at, int)
        if not sound or not isinstance(change.before, (str, type(None))) or not change.at >= 0:
            raise ValueError(f"{RECORD} cannot be read: a change of {change.file!r} is not as extend writes it")
        if change.file not in CHANGED:
            raise ValueError(f"{RECORD} names {change.file!r}, which extend never changes: it was edited")
    return changes
