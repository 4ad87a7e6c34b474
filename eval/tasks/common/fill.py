"""Prompts of an exact number of tokens: as many units as fit, then padding words."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from rope_scaling.eval.tasks.common.haystack import filler
from rope_scaling.eval.tasks.common.tokens import Count

PROBE = 50  # units that the number of tokens a unit is measured on

Padding = Callable[[int], str]
"""So many words or sentences for the end of a text."""


def _repeated(word: str) -> Padding:
    return lambda copies: word * copies


# one token each in most vocabularies; 6, 3, 2 and 1 where a byte is a token
WORDS: tuple[Padding, ...] = tuple(map(_repeated, (" again", " so", " a", "!")))


class Render(Protocol):
    """The prompt of so many units, with `padding` at a place where it does no harm."""

    def __call__(self, units: int, padding: str, /) -> str:
        """Return the whole prompt."""
        ...


@dataclass(frozen=True)
class Filled:
    """The longest prompt found; `tokens` says how long it is."""

    prompt: str
    units: int
    tokens: int


class TooShortError(ValueError):
    """Nothing but the frame of the prompt is already longer than what was asked for."""


def _sentences(copies: int) -> str:
    return f" {filler(copies)}" if copies else ""


def fill(
    count: Count, render: Render, tokens: int, room: int, paddings: Sequence[Padding] = (_sentences, *WORDS)
) -> Filled:
    """Return the prompt of `tokens` tokens, or of the most below where the tokenizer cannot be brought to it.

    Args:
        count: tells a text's tokens.
        render: makes the prompt; any number of units must be there.
        tokens: of the prompt.
        room: tokens left for the answer; errors speak of both together.
        paddings: what closes the gap that whole units leave, the coarsest first.

    Raises:
        TooShortError: The prompt of no units is longer.
    """
    bare = count(render(0, ""))
    if bare > tokens:
        raise TooShortError(
            f"a prompt of {tokens + room} tokens is too short: question and answer alone take {bare + room}; "
            "ask for a length of at least that"
        )
    units = most(lambda number: count(render(number, "")), tokens)
    closed = ""
    for padding in paddings:
        closed += padding(_copies(count, functools.partial(render, units), closed, padding, tokens))
    prompt = render(units, closed)
    return Filled(prompt, units, count(prompt))


def _copies(count: Count, render: Callable[[str], str], closed: str, padding: Padding, tokens: int) -> int:
    def used(copies: int) -> int:
        return count(render(closed + padding(copies)))

    # one look settles most of them: the gap is closed, or smaller than one copy
    return 0 if used(1) > tokens else most(used, tokens)


def most(used: Callable[[int], int], tokens: int) -> int:
    """Return the largest number for which `used` is at most `tokens`; it must grow, roughly evenly, and fit at 0.

    Raises:
        ValueError: It does not grow.
    """
    low, at_low = 0, used(0)
    high, at_high = _bracket(used, tokens, at_low)
    attempt = 0
    while high - low > 1:
        share = (tokens - at_low) / (at_high - at_low)
        # every third time halves, so that uneven growth cannot make it creep
        guess = (low + high) // 2 if attempt % 3 == 2 else low + int(share * (high - low))
        guess = min(max(guess, low + 1), high - 1)
        if (at := used(guess)) <= tokens:
            low, at_low = guess, at
        else:
            high, at_high = guess, at
        attempt += 1
    return low


def _bracket(used: Callable[[int], int], tokens: int, at_zero: int) -> tuple[int, int]:
    """Return a number for which `used` is more than `tokens`, and what it is."""
    high = PROBE
    while (at := used(high)) <= tokens:
        each = (at - at_zero) / high
        if each < 0.01:  # even units that merge into one token cost more
            raise ValueError(
                f"this tokenizer makes {at - at_zero} tokens of {high} sentences: it cannot measure lengths"
            )
        high = max(high + PROBE, int((tokens - at_zero) / each) + PROBE)
    return high, at
