"""Turning queries and keys that are rotated already by a further distance, pair by pair, right at far positions."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

_BLOCK = 2048
"""Tokens that are turned at once: what a step writes, the next finds in the cache of one core."""


@dataclass(frozen=True)
class RotatedPairs:
    """Which dimensions of queries and keys turn with the position, and how fast.

    Attributes:
        inv_freq: (pairs,), float32, radians per token.
        start: The first dimension that turns.
        interleaved: Whether neighbours are a pair, or else dimensions half the turned width apart.
        sense: 1 where a pair turns by its angle, -1 where it turns the other way.
    """

    inv_freq: Tensor
    start: int = 0
    interleaved: bool = False
    sense: int = 1


@dataclass(frozen=True)
class Turn:
    """The rotation of some tokens.

    Attributes:
        cos: (..., tokens, 2 · pairs), a pair's cosine at both of its dimensions.
        sin: (..., tokens, pairs).
    """

    cos: Tensor
    sin: Tensor

    def part(self, tokens: slice) -> Turn:
        """That of some of the tokens."""
        return Turn(self.cos[..., tokens, :], self.sin[..., tokens, :])


def turn_by(offsets: Tensor, pairs: RotatedPairs, dtype: torch.dtype = torch.float32) -> Turn:
    """The rotation by so many tokens, whole or not.

    A product of two float32 would spend its bits on whole turns: they go in float64, before anything is rounded.

    Args:
        offsets: (..., tokens), float64.
        pairs: What turns.
        dtype: Of cosine and sine, float32 or float64.
    """
    turns = offsets[..., None] * (pairs.sense * pairs.inv_freq.double() / (2 * math.pi))
    angle = turns.sub_(turns.round()).to(dtype).mul_(2 * math.pi)
    cos = angle.cos()
    both = cos.repeat_interleave(2, -1) if pairs.interleaved else torch.cat((cos, cos), dim=-1)
    return Turn(both, angle.sin())


def turned(vectors: Tensor, turn: Turn, pairs: RotatedPairs) -> Tensor:
    """`vectors`, (..., tokens, dims), turned; computed in float32 at least and rounded once. Differentiable."""
    width = turn.cos.shape[-1]
    moving = vectors[..., pairs.start : pairs.start + width]
    wide = moving.to(torch.promote_types(moving.dtype, turn.cos.dtype))
    x, y = _halves(wide, pairs.interleaved)
    across = (-y * turn.sin, x * turn.sin)
    crossed = torch.stack(across, dim=-1).flatten(-2) if pairs.interleaved else torch.cat(across, dim=-1)
    new = (wide * turn.cos + crossed).to(vectors.dtype)
    if width == vectors.shape[-1]:
        return new
    return torch.cat((vectors[..., : pairs.start], new, vectors[..., pairs.start + width :]), dim=-1)


def turned_in_blocks(vectors: Tensor, turn: Callable[[slice], Turn], pairs: RotatedPairs) -> Tensor:
    """`turned`, without a gradient, some tokens at a time: each number is fetched from memory once.

    Args:
        vectors: (..., tokens, dims).
        turn: That of some of the tokens.
        pairs: What turns.
    """
    width = 2 * pairs.inv_freq.shape[0]
    out = torch.empty_like(vectors) if width == vectors.shape[-1] else vectors.clone()
    for first in range(0, vectors.shape[-2], _BLOCK):
        tokens = slice(first, first + _BLOCK)
        dims = slice(pairs.start, pairs.start + width)
        _turn_block(vectors[..., tokens, dims], out[..., tokens, dims], turn(tokens), pairs.interleaved)
    return out


def _turn_block(old: Tensor, new: Tensor, turn: Turn, interleaved: bool) -> None:
    wide = old.to(torch.promote_types(old.dtype, turn.cos.dtype))
    done = new if wide is old else torch.empty_like(wide)
    torch.mul(wide, turn.cos, out=done)
    (x, y), (a, b) = _halves(wide, interleaved), _halves(done, interleaved)
    a.addcmul_(y, turn.sin, value=-1)
    b.addcmul_(x, turn.sin)
    if done is not new:
        new.copy_(done)


def _halves(vectors: Tensor, interleaved: bool) -> tuple[Tensor, Tensor]:
    """The first and the second dimension of each pair, views."""
    if interleaved:
        return vectors[..., 0::2], vectors[..., 1::2]
    pairs = vectors.shape[-1] // 2
    return vectors[..., :pairs], vectors[..., pairs:]
