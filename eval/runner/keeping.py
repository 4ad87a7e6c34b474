"""Scores of whole texts through the store, and what answers of the model at hand are kept under."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rope_scaling.eval.runner.meter import Meter
from rope_scaling.eval.store.answers import Answers
from rope_scaling.eval.store.keys import digest, identity, text_key
from rope_scaling.eval.store.numbers import packed, unpacked


@dataclass(frozen=True)
class Keeping:
    """A store for the answers of one checkpoint.

    Attributes:
        answers: what is kept.
        checkpoint: its key, from before it was patched.
        tokenizer: its key.
        meter: told of what need not be read.
    """

    answers: Answers
    checkpoint: str
    tokenizer: str
    meter: Meter

    def identity(self, model: Any) -> dict[str, Any]:
        """Return what the answers of the model, as it is patched now, are kept under."""
        return identity(model, self.checkpoint, self.tokenizer)

    def missing(self, model: Any, texts: Tensor, how: Mapping[str, Any]) -> int:
        """Return how many of these texts are not scored yet."""
        owner = digest(self.identity(model))
        return sum(self.answers.get(owner, text_key(text, how)) is None for text in texts)

    def nll(
        self,
        model: Any,
        texts: Tensor,
        how: Mapping[str, Any],
        tokens: int,
        score: Callable[[Tensor], Tensor],
    ) -> tuple[Tensor, float]:
        """Return the scores of texts that are read side by side, and the seconds that they took, now or earlier.

        Args:
            model: as it is patched now.
            texts: (texts, tokens).
            how: what the scores depend on beside the model.
            tokens: that each text makes the model read.
            score: computes those that are missing.
        """
        whose, keys = self.identity(model), [text_key(text, how) for text in texts]
        owner = digest(whose)
        missing = [number for number, key in enumerate(keys) if self.answers.get(owner, key) is None]
        self.meter.skip(tokens * (len(keys) - len(missing)))
        if missing:
            start = time.perf_counter()
            found = score(texts[missing])
            kept = {keys[number]: packed(row) for number, row in zip(missing, found, strict=True)}
            self.answers.add(whose, kept, time.perf_counter() - start)
        count = _scored(texts, how)
        rows = [self._read(owner, key, count) for key in keys]
        return torch.stack(rows), self.answers.seconds(owner, keys)

    def _read(self, owner: str, key: str, count: int) -> Tensor:
        """Return the scores of a text.

        Raises:
            ValueError: What is kept is something else.
        """
        kept = self.answers.get(owner, key)
        try:
            numbers = unpacked(kept) if isinstance(kept, str) else torch.empty(0)
            why = f"{len(numbers)} numbers instead of {count}"
        except ValueError as error:
            numbers, why = torch.empty(0), str(error)
        if len(numbers) != count:
            raise self.answers.broken(owner, key, f"'answers' has {key!r} that holds no scores of its text ({why})")
        return numbers


class OwnPart:
    """The keeping of one process among several: texts that are another's are not read, and score nothing yet.

    All go through the same texts in the same order, so all know whose each is.
    """

    def __init__(self, keeping: Keeping) -> None:
        self.keeping = keeping
        self._loads = [0] * keeping.answers.processes.count  # tokens

    def nll(
        self, model: Any, texts: Tensor, how: Mapping[str, Any], tokens: int, score: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, float]:
        """Return what `Keeping.nll` returns, or nothing but zeros where the texts are another process's."""
        owner = self._loads.index(min(self._loads))
        self._loads[owner] += tokens * self.keeping.missing(model, texts, how)
        if owner == self.keeping.answers.processes.index:
            return self.keeping.nll(model, texts, how, tokens, score)
        return torch.zeros(len(texts), _scored(texts, how)), 0.0


def _scored(texts: Tensor, how: Mapping[str, Any]) -> int:
    """Return how many tokens of each text are scored: those of `window` past its length, else all after the first."""
    return int(texts.shape[-1] - how.get("window", 1))
