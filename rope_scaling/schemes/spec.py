"""Schemes from names and from text such as `yarn:factor=4,beta_fast=16`, and back into plain values."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any

from rope_scaling.schemes.base import Scheme
from rope_scaling.schemes.by_length import DEFAULT_GROWTH, FOLLOW_LENGTH, PREFIX, DynamicScaling
from rope_scaling.schemes.registry import SCHEMES

OPTION = r',(?=\s*\w+\s*=)(?=(?:[^"]*"[^"]*")*[^"]*$)'
"""The comma before an option: none of a list, none in quotes as in over="yarn:factor=2,beta_fast=16"."""


def make_scheme(scheme: str | Scheme, options: Mapping[str, object] | None = None) -> Scheme:
    """The scheme called `scheme`, with these options; a scheme that is a value already is returned as it is.

    `dynamic-` before the name of a scheme makes it follow the length of each sequence.

    Raises:
        ValueError: Unknown name or option, with the nearest known one, or a bad value.
        TypeError: Neither a name nor a scheme.
    """
    if not isinstance(scheme, str):
        if isinstance(scheme, (DynamicScaling, *SCHEMES.values())) and not isinstance(scheme, type):
            return scheme
        raise TypeError(f"scheme must be a name or a value such as YaRN(factor=4), got {scheme!r}")
    if scheme.startswith(PREFIX) and scheme.removeprefix(PREFIX) in FOLLOW_LENGTH:
        own = {key: value for key, value in (options or {}).items() if key == "growth"}
        rest = {key: value for key, value in (options or {}).items() if key not in own}
        return DynamicScaling(make_scheme(scheme.removeprefix(PREFIX), rest), **own)  # type: ignore[arg-type]
    if scheme not in SCHEMES:
        known_names = {**SCHEMES, **dict.fromkeys(PREFIX + name for name in FOLLOW_LENGTH)}
        raise ValueError(
            f"unknown scheme {scheme!r}{_suggest(scheme, known_names)} ({', '.join(SCHEMES)}; "
            f"{PREFIX}{FOLLOW_LENGTH[1]} and the like follow the length of each sequence)"
        )
    made = SCHEMES[scheme]
    known = _fields(made)
    given = dict(options or {})
    for name in given:
        if name not in known:
            told = ", ".join(known)
            raise ValueError(f"scheme {scheme!r} has no option {name!r}{_suggest(name, known)} ({told})")
    missing = [name for name, field in known.items() if field.default is MISSING and name not in given]
    if missing:
        raise ValueError(f"scheme {scheme!r} needs {', '.join(missing)}: for example {scheme}:{missing[0]}=...")
    return made(**given)


def parse_scheme(text: str) -> Scheme:
    """A scheme from `name` or `name:option=value,...`; values are JSON (`4`, `true`, `[1, 1.5]`).

    Text needs quotes only where it has a comma: over=ntk:factor=2, over="yarn:factor=2,beta_fast=16".

    Raises:
        ValueError: Unknown name or option, or a value that is no JSON.
    """
    name, _, rest = text.strip().partition(":")
    options: dict[str, object] = {}
    for part in re.split(OPTION, rest) if rest.strip() else []:
        key, equals, value = part.partition("=")
        if not equals or not key.strip():
            raise ValueError(f"cannot read {part!r} in scheme {text!r}: write name:option=value,option=value")
        if key.strip() in options:
            raise ValueError(f"option {key.strip()!r} is given twice in scheme {text!r}")
        options[key.strip()] = _value(name.strip(), key.strip(), value.strip(), text)
    return make_scheme(name.strip(), options)


def scheme_options(scheme: Scheme) -> dict[str, Any]:
    """The options of a scheme that are not its defaults, as JSON can hold them: `make_scheme` takes them back."""
    if isinstance(scheme, DynamicScaling):
        own = {} if scheme.growth == DEFAULT_GROWTH else {"growth": scheme.growth}
        return scheme_options(scheme.scheme) | own
    told = {name: (getattr(scheme, name), field.default) for name, field in _fields(type(scheme)).items()}
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, (value, default) in told.items()
        if value != default
    }


def _fields(scheme: type[Scheme]) -> dict[str, Field[Any]]:
    assert is_dataclass(scheme)
    return {field.name: field for field in fields(scheme)}


def _value(scheme: str, option: str, text: str, spec: str) -> object:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        if text and not {'"', "'"} & {*text} and _takes_text(scheme, option):
            return text
        raise ValueError(
            f'cannot read the value {text!r} in scheme {spec!r}: write a number, true, false, a list [..] or "text"'
        ) from None


def _takes_text(scheme: str, option: str) -> bool:
    field = _fields(SCHEMES[scheme]).get(option) if scheme in SCHEMES else None
    return field is not None and "str" in str(field.type).split(" | ")


def _suggest(name: str, known: Mapping[str, object]) -> str:
    close = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.5)
    return f": did you mean {close[0]!r}?" if close else ""
