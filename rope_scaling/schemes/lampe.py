"""LaMPE: fine positions for neighbours and for the far end of a text, coarse ones between, by the text's length."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from rope_scaling.remap import Affine, Band, Bands, Region
from rope_scaling.schemes.remapped import Reach, Remap, check_count


@dataclass(frozen=True)
class Grains:
    """The three resolutions for texts of n tokens.

    Attributes:
        head: Distances below it are true.
        far: Distances from it on are fine again.
        divisor: (n - 1) / M, tokens to a position between: position p stands at ⌊p / divisor⌋.
        bias: Added between, so that positions go on where the head's end.
        far_bias: Subtracted from far distances, so that they go on where those between end.
    """

    head: int
    far: int
    divisor: float
    bias: int
    far_bias: int


@dataclass(frozen=True)
class LaMPE(Remap):
    """i - j below h, then ⌊i M / (n - 1)⌋ - ⌊j M / (n - 1)⌋ + b, then i - j - b' (arXiv 2508.02308v2).

    Taken from the authors' code (github.com/scar-on/LaMPE, llama_cache1.py), for n the length that is asked for, so
    that it is a rule of (i, j) alone; there n is each prompt's length. Pairs at the two seams, which the code counts
    twice in its prefill, belong to the farther side. The code's factor of 0.1 ln 2 + 1 on cos and sin is left out, for
    `log_scale`.

    M(n) = ⌊A / (1 + exp(-(a n + c)))⌋ was fitted by the authors to each of their models by search; no rule gives it
    for another model. Without `sigmoid` or `mapped`, M is the most that keeps every position below L: that part is
    ours, not the paper's.

    Attributes:
        head: h, tokens at their true distance; L / 8 unless given (the authors' 512 of 4096).
        tail: Tokens at the far end that are fine again; L / 40 unless given (the authors' 200 for 8192).
        mapped: M, the positions that the tokens between are mapped to.
        sigmoid: (a, c, A) of M(n).
    """

    name: ClassVar[str] = "lampe"
    head: int | None = None
    tail: int | None = None
    mapped: int | None = None
    sigmoid: tuple[float, float, float] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("head", self.head, 1)
        check_count("tail", self.tail, 1)
        check_count("mapped", self.mapped, 1)
        if self.sigmoid is None:
            return
        if self.mapped is not None:
            raise ValueError("mapped and sigmoid both say how many positions there are: give one of them")
        object.__setattr__(self, "sigmoid", tuple(self.sigmoid))
        if len(self.sigmoid) != 3 or not all(isinstance(x, (int, float)) and math.isfinite(x) for x in self.sigmoid):
            raise ValueError(f"sigmoid must be three numbers [a, c, A], got {list(self.sigmoid)!r}")

    def _remapped(self, reach: Reach) -> Bands:
        grains = self._grains(reach)
        between = Affine(grains.divisor, floor=True)
        first = reach.start
        return (
            Band(Region(first, farthest=grains.head)),
            Band(
                Region(first, nearest=grains.head, farthest=grains.far),
                Affine(grains.divisor, grains.bias, floor=True),
                between,
            ),
            Band(Region(first, nearest=grains.far), Affine(offset=-grains.far_bias)),
        )

    def _grains(self, reach: Reach) -> Grains:
        head = max(2, reach.trained // 8) if self.head is None else self.head
        tail = max(1, reach.trained // 40) if self.tail is None else self.tail
        most = _most_mapped(head, tail, reach)
        if most < 1:
            raise ValueError(
                f"lampe's head={head} and tail={tail} leave too few of the {reach.trained} trained positions for what "
                f"lies between of {reach.target} tokens: take smaller ones, or ask for fewer tokens"
            )
        mapped = self._mapped(reach.target)
        if mapped is not None and not 1 <= mapped <= most:
            raise ValueError(
                f"lampe maps {reach.target} tokens to {mapped} positions: with head={head} and tail={tail} it must be "
                f"from 1 to {most} to stay within the trained length {reach.trained}"
            )
        grains = grains_of(head, tail, mapped or most, reach.target)
        if grains.far <= head:
            raise ValueError(
                f"lampe maps {reach.target} tokens to {mapped} positions: then so many share one that the tail of "
                f"{tail} meets the head of {head}; take more, at most {most}"
            )
        return grains

    def _mapped(self, n: int) -> int | None:
        if self.sigmoid is None:
            return self.mapped
        slope, shift, ceiling = self.sigmoid
        return int(ceiling / (1 + math.exp(min(-(slope * n + shift), 700.0))))  # beyond, exp overflows


def grains_of(head: int, tail: int, mapped: int, n: int) -> Grains:
    """The resolutions for `n` tokens, as the authors' code finds them."""
    divisor = (n - 1) / mapped

    def at(p: int) -> int:
        return math.floor(p / divisor)

    far = tail
    while at(far) == at(far + 1):  # the tail ends where a group ends
        far += 1
    bias = head - (at(head) + 1)
    last = n - 1 - far
    return Grains(head, n - far, divisor, bias, last - at(last) - bias)


def _most_mapped(head: int, tail: int, reach: Reach) -> int:
    """The largest M whose farthest position, that of n - 1 tokens away, is below L; 0 where there is none."""
    if head + tail >= reach.trained:
        return 0
    for mapped in range(reach.trained - 1, 0, -1):
        if reach.target - 1 - grains_of(head, tail, mapped, reach.target).far_bias < reach.trained:
            return mapped
    return 0
