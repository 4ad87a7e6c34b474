"""The small text files of a checkpoint: read with suspicion, written again in the hand that they were written in."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

_LARGEST = 256 * 2**20
"""A config has kilobytes, a tokenizer tens of megabytes; more is a mistake or an attack."""

Json = dict[str, Any]


def read_document(path: Path) -> bytes:
    """The bytes of a small file.

    Raises:
        ValueError: It is larger than any such file is.
    """
    with path.open("rb") as file:
        held = file.read(_LARGEST + 1)
    if len(held) > _LARGEST:
        raise ValueError(
            f"{path.name} has more than {_LARGEST // 2**20} MiB: that is no file of a checkpoint's settings"
        )
    return held


def parse_document(name: str, held: bytes) -> Json:
    """The JSON object in `held`.

    Raises:
        ValueError: It is no JSON object, nested beyond reason, or says a key twice (readers differ in which they take).
    """

    def once(pairs: list[tuple[str, Any]]) -> Json:
        found: Json = {}
        for key, value in pairs:
            if key in found:
                raise ValueError(f"it says {key!r} twice, and readers differ in which they take: remove one")
            found[key] = value
        return found

    try:
        value = json.loads(held.decode("utf-8"), object_pairs_hook=once)
    except RecursionError:
        raise ValueError(f"{name} is nested deeper than any config: it is damaged or an attack") from None
    except ValueError as error:  # also what is no UTF-8, and numbers of thousands of digits
        raise ValueError(f"{name} cannot be read: {error}") from None
    if not isinstance(value, dict):
        raise ValueError(f"{name} must hold a JSON object, got {type(value).__name__}")
    return value


def edit_document(name: str, held: bytes, edit: Callable[[Json], None]) -> bytes:
    """`held` after `edit` has changed the object in it, with its own indentation, order and escapes."""
    value = parse_document(name, held)
    before = json.dumps(value)
    edit(value)
    if json.dumps(value) == before:
        return held
    text = held.decode("utf-8")
    indent = re.match(r"\s*\{\r?\n([ \t]+)", text)
    written = json.dumps(value, indent=indent[1] if indent else 2, ensure_ascii=text.isascii())
    return (written + ("\n" if text.endswith("\n") else "")).encode("utf-8")
