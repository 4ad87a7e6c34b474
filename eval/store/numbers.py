"""Numbers of single tokens as text, every bit of them."""

from __future__ import annotations

import base64

import torch
from torch import Tensor


def packed(numbers: Tensor) -> str:
    """Return float32 numbers as text."""
    return base64.b64encode(numbers.float().numpy().astype("<f4").tobytes()).decode()


def unpacked(text: str) -> Tensor:
    """Return the numbers of a text.

    Raises:
        ValueError: It holds none, or some that are not finite.
    """
    numbers = torch.frombuffer(bytearray(base64.b64decode(text, validate=True)), dtype=torch.float32).clone()
    if not torch.isfinite(numbers).all():
        raise ValueError("some are not finite")
    return numbers
