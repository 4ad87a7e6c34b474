"""What needles are hidden in: filler sentences, a running text, or other needles."""

from __future__ import annotations

import functools
import hashlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rope_scaling.eval.embedded import EMBEDDED

FILLER = (
    "The grass is green.",
    "The sky is blue.",
    "The sun is yellow.",
    "Here we go.",
    "There and back again.",
)
_ENDS = (".", "!", "?", ";")


@dataclass(frozen=True)
class Haystack:
    """Pieces of text without end.

    Attributes:
        unit: makes the piece of a number, the same every time.
        separator: what stands between two of them.
        ends: whether something else may follow the piece.
    """

    unit: Callable[[int], str]
    separator: str = " "
    ends: Callable[[str], bool] = lambda piece: True

    def lay(self, units: int, needles: Sequence[tuple[float, str]], padding: str) -> str:
        """Return the first `units` pieces with each needle at its depth, behind the end of a sentence."""
        pieces = [self.unit(number) for number in range(units)]
        places = [(self._place(pieces, depth), needle) for depth, needle in needles]
        if pieces:
            pieces[-1] += padding
        elif padding:
            pieces = [padding.strip()]
        laid: list[str] = []
        start = 0
        for place, needle in sorted(places, key=lambda place: place[0]):
            laid += [*pieces[start:place], needle]
            start = place
        return self.separator.join([*laid, *pieces[start:]])

    def _place(self, pieces: Sequence[str], depth: float) -> int:
        wanted = round(depth * len(pieces))
        if wanted == len(pieces):
            return wanted
        return next((place for place in range(wanted, 0, -1) if self.ends(pieces[place - 1])), 0)


def filler(sentences: int) -> str:
    """Return the first of the filler sentences, as many as told."""
    return " ".join(FILLER[number % len(FILLER)] for number in range(sentences))


def noise() -> Haystack:
    """Return the filler sentences of the passkey task, again and again."""
    return Haystack(lambda number: FILLER[number % len(FILLER)])


def running_text(source: str | None, rng: random.Random) -> Haystack:
    """Return the words of a text from one of its sentences on, and from its beginning again after its end.

    Args:
        source: a UTF-8 file; None is the text that the package carries.
        rng: chooses the sentence.
    """
    words, starts = _words(read_text(str(source or EMBEDDED["macbeth"])))
    start = rng.choice(starts)
    return Haystack(lambda number: words[(start + number) % len(words)], ends=lambda word: word.endswith(_ENDS))


def read_text(source: str) -> str:
    """Return the text of a file, or raise ValueError with what is wrong with it."""
    try:
        text = Path(source).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"text must name a readable UTF-8 file, got {source!r}: {error}") from None
    if not text.strip():
        raise ValueError(f"text must name a file with words in it, {source!r} has none")
    return text


def text_sha256(source: object) -> str:
    """Return what tells the text of a file from any other, wherever it lies; ValueError where it is none."""
    if not isinstance(source, str):
        raise ValueError(f"text must name a readable UTF-8 file, got {source!r:.60}")
    return hashlib.sha256(read_text(source).encode()).hexdigest()


@functools.lru_cache(maxsize=4)
def _words(text: str) -> tuple[list[str], list[int]]:
    """Return the words of a text, and the numbers of those that begin a sentence."""
    words = text.split()
    return words, [0, *(number for number, word in enumerate(words[:-1], 1) if word.endswith(_ENDS))]
