"""Single values out of a config, or an error that says which key is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rope_scaling.rope import check_positive


def get(source: object, key: str) -> Any:
    """What a config object or dict says under `key`; None where it says nothing."""
    return source.get(key) if isinstance(source, Mapping) else getattr(source, key, None)


def positive(key: str, value: object) -> float:
    """`value` as a float, or a ValueError naming `key` where it is no finite number above zero."""
    try:
        return check_positive(key, value)
    except OverflowError:  # JSON has integers that no float can hold
        assert isinstance(value, int)
        raise ValueError(
            f"{key} must be a finite number above 0, got an integer of {value.bit_length()} bits"
        ) from None


def whole(key: str, value: object) -> int:
    """`value` as an int, or a ValueError naming `key` where it is no whole number above zero."""
    number = positive(key, value)
    if number != int(number):
        raise ValueError(f"{key} must be a whole number, got {value!r}")
    return int(number)
