"""Position ranges: `1k,2k,4k` as typed, their labels, and the perplexity of a text within each."""

import itertools
import math
import re
from dataclasses import dataclass

from torch import Tensor

LONGEST = 2**24
"""Tokens: no checkpoint is said to read more than 10 million, and a text that long takes minutes to make."""


@dataclass(frozen=True)
class Bin:
    """The tokens at positions `start` to `stop - 1`, counted from 0."""

    start: int
    stop: int

    @property
    def label(self) -> str:
        """Return it as a person writes it: `4k-8k`."""
        return f"{short(self.start)}-{short(self.stop)}"


def parse_lengths(text: str) -> tuple[int, ...]:
    """Read `1k,2k,10k` (k = 1024) as rising token counts."""
    lengths = tuple(_parse_length(part, text) for part in text.split(","))
    for before, after in itertools.pairwise(lengths):
        if after <= before:
            raise ValueError(f"lengths must rise, got {text!r}: {short(before)} is followed by {short(after)}")
    return lengths


def bins(lengths: tuple[int, ...]) -> tuple[Bin, ...]:
    """Return the ranges between neighbouring lengths, the first from 0."""
    return tuple(Bin(start, stop) for start, stop in itertools.pairwise((0, *lengths)))


def short(tokens: int) -> str:
    """Return `4k` for 4096, `1000` for 1000."""
    return f"{tokens // 1024}k" if tokens and tokens % 1024 == 0 else str(tokens)


def perplexity(nll: Tensor, start: int = 0, stop: int | None = None) -> float:
    """Return the perplexity of the tokens at positions `start` to `stop - 1`."""
    return math.exp(at(nll, start, stop).double().mean().item())


def at(nll: Tensor, start: int = 0, stop: int | None = None) -> Tensor:
    """Return the scores at positions `start` to `stop - 1`.

    `nll` is (tokens - 1,) or (texts, tokens - 1): position 0 has no score, as nothing comes before it.
    """
    return nll[..., max(start - 1, 0) : None if stop is None else stop - 1]


def _parse_length(part: str, text: str) -> int:
    match = re.fullmatch(r"\s*([1-9][0-9]{0,8})([kK]?)\s*", part)
    if match is None:
        raise ValueError(f"cannot read {part!r} in lengths {text!r}: write token counts such as 1k,2k,4k (k = 1024)")
    length = int(match[1]) * (1024 if match[2] else 1)
    if length > LONGEST:
        raise ValueError(
            f"a length of {part.strip()} tokens in {text!r} is beyond {short(LONGEST)}, more than any checkpoint "
            "is made for: ask for less"
        )
    if length < 2:
        raise ValueError(f"a length must be at least 2 tokens, got {part!r} in {text!r}")
    return length
