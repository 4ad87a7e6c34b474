"""What attention over some of the keys hands to the next step."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Part(NamedTuple):
    """Attention over some of the keys.

    Attributes:
        out: (batch, heads, queries, value dims).
        lse: (batch, heads, queries), log of the sum of exponentials; float32, or float64 for float64.
    """

    out: Tensor
    lse: Tensor


class Gradients(NamedTuple):
    """By query, key and value, each in the shape of its own."""

    query: Tensor
    key: Tensor
    value: Tensor
