"""Numbers as the report writes them."""

from __future__ import annotations

from rope_scaling.eval.stats import Interval


def signed(value: float, digits: int) -> str:
    """Return a number with its sign, and none where it rounds to 0."""
    text = f"{value:+.{digits}f}"
    return text[1:] if float(text) == 0 else text.replace("-", "−")


def percent(value: float) -> str:
    """Return a share's change: `+4.6%`, and no decimals where it is large."""
    return f"{signed(100 * value, 1 if abs(value) < 1 else 0)}%"


def count(shares: Interval) -> str:
    """Return found and asked: `9 of 10`."""
    return f"{round(shares.mean * shares.count, 2):.10g} of {shares.count}"
