"""What is asked of a model: texts to read, and which of their next tokens to score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

Tokens = list[int]


@dataclass(frozen=True)
class Want:
    """One request's tokens to score.

    Attributes:
        request: the request's number.
        first: index of the first position whose prediction is scored.
        targets: what stands after that position and after each that follows.
    """

    request: int
    first: int
    targets: Tokens


@dataclass
class Row:
    """A text to read.

    Attributes:
        ids: the tokens that are read.
        free: how many of them need no prediction: a prefix that is shared with others ends there at the latest.
        wants: what is scored of it, nothing of a prompt; several requests may read the same text.
        steps: forward passes that a batch with this row takes at least: 1, and one for each token to generate.
    """

    ids: Tokens
    free: int
    wants: list[Want] = field(default_factory=list)
    steps: int = 1

    @property
    def length(self) -> int:
        """Tokens that it takes, with what is to be generated."""
        return len(self.ids) + self.steps - 1


def rows_to_score(requests: Sequence[tuple[Tokens, Tokens]], max_length: int) -> list[Row]:
    """Rows for pairs of context and continuation, one for all requests that read the same tokens.

    As in HFLM, the last token is only predicted, and what is longer than the model loses its beginning.
    """
    rows: dict[tuple[int, ...], Row] = {}
    for number, (context, continuation) in enumerate(requests):
        ids = (context + continuation)[-(max_length + 1) :][:-1]
        first = len(ids) - len(continuation)
        row = rows.setdefault(tuple(ids), Row(ids, first))
        row.free = min(row.free, first)
        row.wants.append(Want(number, first, continuation))
    return list(rows.values())


def row_to_continue(request: int, ids: Tokens, budget: int) -> Row:
    """A prompt, whose last token's prediction is the first of `budget` tokens to generate."""
    return Row(ids, len(ids) - 1, [Want(request, len(ids) - 1, [])], steps=1 + budget)
