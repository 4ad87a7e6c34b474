"""Which part of a text is scored after which: one request each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from rope_scaling.eval.tasks.common.stretch import Stretch

WINDOWS = 4  # scored by the stride variant for each length


@dataclass(frozen=True)
class Span:
    """Places in a text: what is read from, where scoring begins and ends, and the name it is summed under."""

    metric: str
    length: int
    start: int
    first: int
    stop: int


def by_position(stretch: Stretch, lengths: Sequence[int]) -> Iterator[Span]:
    """Yield the tokens between each length and the one before, given all before them."""
    for low, high in pairwise([0, *sorted(lengths)]):
        yield Span(f"{low}-{high}", high, 0, _first(stretch, low), stretch.cut(high))


def by_length(stretch: Stretch, lengths: Sequence[int]) -> Iterator[Span]:
    """Yield all tokens of a text of each length."""
    for length in lengths:
        yield Span(str(length), length, 0, _first(stretch, 0), stretch.cut(length))


def by_stride(stretch: Stretch, lengths: Sequence[int], stride: int) -> Iterator[Span]:
    """Yield the last `stride` tokens of windows of each length that stand `stride` tokens apart.

    Every scored token sees almost the whole length, which flatters short lengths less than `by_length` does.
    """
    for length in lengths:
        _refuse_stride(stride, length)
        for number in range(WINDOWS):
            start = stretch.cut(number * stride) if number else 0
            yield Span(str(length), length, start, stretch.cut(length - stride, start), stretch.cut(length, start))


def by_window(stretch: Stretch, lengths: Sequence[int], window: int, stride: int) -> Iterator[Span]:
    """Yield the tokens of `by_position`, each given at most `window` before it and at least `window - stride`."""
    _refuse_stride(stride, window)
    for low, high in pairwise([0, *sorted(lengths)]):
        at = low
        while at < high:
            to = min(high, window if at < window else at + stride)
            stop = stretch.cut(to)
            start = stretch.back(stop, window) if to > window else 0
            yield Span(f"{low}-{high}", high, start, _first(stretch, at), stop)
            at = to


def document(stretch: Stretch, span: Span, index: int, seed: int) -> dict[str, Any]:
    """Return the request: what is read, what is scored, and how many tokens each is."""
    context, target = stretch.text[span.start : span.first], stretch.text[span.first : span.stop]
    read = stretch.count(context)
    scored = stretch.count(context + target) - read
    if scored < 1:
        raise ValueError(f"{span.metric} holds no whole word: ask for lengths that are further apart")
    return {
        "input": context,
        "answer": target,
        "metric": span.metric,
        "length": span.length,
        "index": index,
        "seed": seed,
        "prompt_tokens": read,
        "scored_tokens": scored,
    }


def _first(stretch: Stretch, tokens: int) -> int:
    """Return where scoring begins; the first word of a text is only read."""
    beginning = len(stretch.text.split(maxsplit=1)[0])
    return max(stretch.cut(tokens), beginning) if tokens else beginning


def _refuse_stride(stride: int, length: int) -> None:
    if not 1 <= stride < length:
        raise ValueError(f"stride must be from 1 to {length - 1} for a length of {length}, got {stride}")
