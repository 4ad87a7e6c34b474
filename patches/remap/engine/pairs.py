"""Turning queries and keys that are rotated already by a further distance, pair by pair, right at far positions."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

_BLOCK = 2**19
"""Numbers that a CPU turns at once: most of what a step writes, the next finds in the cache of its core."""
_WIDE_BLOCK = 2**26
"""Elsewhere, where a step costs a launch."""


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
    """The rotation of the first tokens of a text, or of all.

    Attributes:
        cos: (..., tokens, 2 · pairs), a pair's cosine at both of its dimensions.
        sin: (..., tokens, pairs).
    """

    cos: Tensor
    sin: Tensor

    @property
    def tokens(self) -> int:
        """How many turn."""
        return self.sin.shape[-2]

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
    if torch.compiler.is_compiling():  # a compiler writes its own loop
        return _turn_of_block(offsets, pairs, dtype)
    size = tokens_at_once(offsets.device, offsets[..., :1].numel() * pairs.inv_freq.shape[0])
    blocks = [_turn_of_block(one, pairs, dtype) for one in torch.split(offsets, size, dim=-1)]
    if len(blocks) == 1:
        return blocks[0]
    return Turn(*(torch.cat([getattr(one, name) for one in blocks], dim=-2) for name in ("cos", "sin")))


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


def turned_in_blocks(
    vectors: Tensor,
    turn: Callable[[slice], Turn],
    pairs: RotatedPairs,
    moving: int | None = None,
    out: Tensor | None = None,
) -> Tensor:
    """`turned`, without a gradient, some tokens at a time: each number is fetched from memory once.

    Args:
        vectors: (..., tokens, dims).
        turn: That of some of the tokens.
        pairs: What turns.
        moving: How many tokens turn, the first ones; all of them unless given.
        out: Where to write them, of a dtype that may be wider; a new tensor unless given.
    """
    moving = vectors.shape[-2] if moving is None else moving
    width, size = 2 * pairs.inv_freq.shape[0], tokens_at_once(vectors.device, vectors[..., :1, :].numel())
    whole = width == vectors.shape[-1]
    out = torch.empty_like(vectors) if out is None else out
    if not whole:
        out.copy_(vectors)
    dims = slice(pairs.start, pairs.start + width)
    for first in range(0, moving, size):
        tokens = slice(first, min(first + size, moving))
        _turn_block(vectors[..., tokens, dims], out[..., tokens, dims], turn(tokens), pairs.interleaved)
    if whole:
        out[..., moving:, :] = vectors[..., moving:, :]
    return out


def _turn_of_block(offsets: Tensor, pairs: RotatedPairs, dtype: torch.dtype) -> Turn:
    turns = offsets[..., None] * (pairs.sense * pairs.inv_freq.double() / (2 * math.pi))
    angle = turns.sub_(turns.round()).to(dtype).mul_(2 * math.pi)
    cos = angle.cos()
    both = cos.repeat_interleave(2, -1) if pairs.interleaved else torch.cat((cos, cos), dim=-1)
    return Turn(both, angle.sin())


def tokens_at_once(device: torch.device, numbers: int) -> int:
    """How many tokens to turn in one step, each of so many numbers."""
    return max(1, (_BLOCK if device.type == "cpu" else _WIDE_BLOCK) // max(1, numbers))


def _turn_block(old: Tensor, new: Tensor, turn: Turn, interleaved: bool) -> None:
    wide = old.to(torch.promote_types(old.dtype, turn.cos.dtype))
    done = new if new.dtype == wide.dtype else torch.empty_like(wide)
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
