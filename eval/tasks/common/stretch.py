"""Running text to be scored, cut behind whole words at numbers of tokens."""

from __future__ import annotations

import functools
import re
from bisect import bisect_left, bisect_right

from rope_scaling.eval.embedded import EMBEDDED
from rope_scaling.eval.tasks.common.fill import most
from rope_scaling.eval.tasks.common.haystack import read_text
from rope_scaling.eval.tasks.common.tokens import Count

_GOLDEN = 0.6180339887498949  # multiples of it spread evenly whatever their number


class Stretch:
    """A text from one of its lines on, and from its beginning again after its end.

    Args:
        source: a UTF-8 file; None is the text that the package carries.
        index: tells the stretches of a seed apart; neighbours start far from each other.
        seed: shifts all of them.
        count: tells a text's tokens.

    Attributes:
        text: the whole of it.
        tokens: how many it has.
    """

    def __init__(self, source: str | None, index: int, seed: int, count: Count) -> None:
        self.count = count
        self.source = str(source or EMBEDDED["macbeth"])
        self.text, self._ends = _turned(read_text(self.source), (index * _GOLDEN + seed * _GOLDEN**3) % 1)
        self.tokens = count(self.text)

    def need(self, tokens: int) -> None:
        """Raise ValueError unless the text is that long."""
        if tokens > self.tokens:
            raise ValueError(
                f"{self.source} has {self.tokens} tokens, {tokens} are needed: "
                'name a longer text (--metadata \'{"text": "FILE"}\') or ask for less length'
            )

    def cut(self, tokens: int, start: int = 0) -> int:
        """Return the place behind the last word of the text from `start` that ends within `tokens` tokens."""
        ends = self._ends[bisect_right(self._ends, start) :]

        def used(words: int) -> int:
            if not words:
                return 0
            # beyond the text nothing fits any more
            return self.count(self.text[start : ends[words - 1]]) if words <= len(ends) else self.tokens + words

        words = most(used, tokens)
        if not words:
            raise ValueError(f"no word of {self.source} fits into {tokens} tokens: ask for more length")
        return ends[words - 1]

    def back(self, stop: int, tokens: int) -> int:
        """Return the first place behind a word from which on the text up to `stop` is at most `tokens` tokens."""
        last = bisect_left(self._ends, stop)

        def used(words: int) -> int:
            # before the text nothing fits any more
            return self.count(self.text[self._ends[last - words] : stop]) if words <= last else self.tokens + words

        return self._ends[last - most(used, tokens)]


@functools.lru_cache(maxsize=16)
def _turned(text: str, share: float) -> tuple[str, tuple[int, ...]]:
    """Return the text from the line at that share of it on, and where its words end."""
    text = text.strip() + "\n"
    start = text.find("\n", int(share * len(text))) + 1 if share else 0
    turned = (text[start:] + text[:start]).lstrip()
    return turned, tuple(match.end() for match in re.finditer(r"\S+", turned))
