"""Results that are the same but for what batches of another size round otherwise."""

from __future__ import annotations

from typing import Any

import pytest


def assert_close(own: Any, one: Any, where: str = "") -> None:
    """Texts equal, numbers to 1e-5; 1e-6 where they are differences near 0."""
    assert type(own) is type(one), where
    if isinstance(one, dict):
        assert [*own] == [*one], where
        for key in one:
            assert_close(own[key], one[key], f"{where}.{key}")
    elif isinstance(one, list):
        assert len(own) == len(one), where
        for number, (mine, theirs) in enumerate(zip(own, one, strict=True)):
            assert_close(mine, theirs, f"{where}[{number}]")
    else:
        assert own == (pytest.approx(one, rel=1e-5, abs=1e-6, nan_ok=True) if isinstance(one, float) else one), where
