"""JSON files that nobody has checked yet, read within bounds and with what is odd about them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rope_scaling.doctor.finding import Severity, Symptom

LARGEST = 8 * 2**20
"""Bytes. The largest config.json in the wild, lists of 100 image sizes and all, has a few hundred kB."""
DEEPEST = 64
_SPECIAL = ("NaN", "Infinity", "-Infinity")
_BRACKETS = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{}]')

Trouble = tuple[str, Symptom]


def read_json(path: Path) -> tuple[dict[str, Any], tuple[Trouble, ...]]:
    """The object in a JSON file, and what is wrong with how it is written.

    Raises:
        ValueError: It cannot be read at all: no JSON, no object, too large or nested too deeply.
    """
    size = path.stat().st_size
    if size > LARGEST:
        raise ValueError(
            f"{path.name} has {size} bytes, more than {LARGEST}: that is no configuration, nothing was read"
        )
    return parse_json(path.read_bytes(), path.name)


def parse_json(content: bytes, name: str) -> tuple[dict[str, Any], tuple[Trouble, ...]]:
    """`read_json` of a file's content."""
    _check_depth(content, name)
    twice: dict[str, bool] = {}
    special: list[str] = []

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        held: dict[str, Any] = {}
        for key, value in items:
            if key in held:
                twice[key] = twice.get(key, False) or held[key] != value
            held[key] = value
        return held

    def constant(word: str) -> float:
        special.append(word)
        return float(word.replace("Infinity", "inf"))

    try:
        data = json.loads(content.decode("utf-8-sig"), object_pairs_hook=pairs, parse_constant=constant)
    except RecursionError:
        raise ValueError(f"{name} is nested too deeply to be read") from None
    except ValueError as error:  # JSONDecodeError, UnicodeDecodeError, integers of too many digits
        raise ValueError(f"{name} is no JSON: {error}") from None
    if not isinstance(data, Mapping):
        raise ValueError(f"{name} must hold a JSON object, got {type(data).__name__}")
    return dict(data), (*_duplicates(twice, name), *_specials(special, name))


def _check_depth(content: bytes, name: str) -> None:
    """A ValueError before the parser would run out of stack."""
    depth = 0
    for match in _BRACKETS.finditer(content):
        mark = match[0]
        if mark in b"[{":
            depth += 1
        elif mark in b"]}":
            depth -= 1
        if depth > DEEPEST:
            raise ValueError(f"{name} is nested more than {DEEPEST} levels deep: that is no configuration")


def _duplicates(twice: Mapping[str, bool], name: str) -> tuple[Trouble, ...]:
    return tuple(
        (
            "duplicate-key",
            Symptom(
                seen=f"{name} says {key!r} twice" + (", with different values" if differ else ""),
                consequence="Python's json keeps the last one, other parsers the first or none: which value counts "
                "depends on who reads it."
                if differ
                else "Both say the same, so nothing is lost yet; an edit of one of them will be.",
                mend=f"remove one {key!r} from {name}",
                evidence={"file": name, "key": key},
                severity=Severity.ERROR if differ else Severity.WARNING,
            ),
        )
        for key, differ in twice.items()
    )


def _specials(special: list[str], name: str) -> tuple[Trouble, ...]:
    if not special:
        return ()
    told = ", ".join(sorted(set(special)))
    return (
        (
            "not-a-number",
            Symptom(
                seen=f"{name} holds {told}, which is not JSON",
                consequence="Python reads it and computes on with it; strict parsers (Rust's serde_json, JavaScript) "
                "refuse the whole file.",
                mend=f"write a finite number in its place in {name}",
                evidence={"file": name, "count": len(special)},
            ),
        ),
    )
