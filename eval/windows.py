"""Training windows of one length from running text, some with something to recall in them."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from rope_scaling.eval.recall import SHARES, Span, recall_window


class Windows(Dataset[dict[str, Tensor]]):
    """Windows of `length` tokens; window i is a function of seed and i alone, so training can stop and go on anywhere.

    Args:
        tokenizer: a window starts with its BOS where it gives texts one.
        text: what windows are cut from, at any token.
        length: tokens of a window, BOS included.
        count: how many windows.
        recall: share of windows with something to recall (`rope_scaling.eval.recall`).
        seed: of the places, the kinds and the numbers.
        shares: how often each kind of recall comes.

    Raises:
        ValueError: The text is shorter than one window.
    """

    def __init__(
        self,
        tokenizer: Any,
        text: str,
        length: int,
        count: int,
        recall: float,
        seed: int,
        shares: Mapping[str, float] = SHARES,
    ) -> None:
        self.tokenizer, self.count, self.recall, self.seed, self.shares = tokenizer, count, recall, seed, shares
        leads = bool(tokenizer("")["input_ids"]) and tokenizer.bos_token_id is not None
        self.lead = [tokenizer.bos_token_id] if leads else []
        self.size = length - len(self.lead)
        self.ids = torch.tensor(self.encode(text), dtype=torch.int32)
        if len(self.ids) <= self.size:
            raise ValueError(f"the text has {len(self.ids)} tokens, a window takes {self.size}: give a longer text")
        self.stops = _stops(tokenizer)

    def encode(self, text: str) -> list[int]:
        """Return the token ids of a piece of a text."""
        ids: list[int] = self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        return ids

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Return `input_ids` and `labels`, (length,) each."""
        rng = random.Random(f"{self.seed} {index}")
        start = rng.randrange(len(self.ids) - self.size)
        ids = self.ids[start : start + self.size].tolist()
        window = Span(ids, ids)
        if rng.random() < self.recall:
            window = recall_window(rng, self.encode, window, self.size, self.stops, self.shares)
        return {
            "input_ids": torch.tensor([*self.lead, *window.ids]),
            "labels": torch.tensor([*self.lead, *window.labels]),
        }


def _stops(tokenizer: Any) -> frozenset[int]:
    """Return the ids of tokens that end a line or a sentence."""
    texts = {number: tokenizer.convert_tokens_to_string([token]) for token, number in tokenizer.get_vocab().items()}
    return frozenset(number for number, text in texts.items() if text.endswith(("\n", ".")))
