"""One forward pass after a cache, with no logits that nobody asked for."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rope_scaling.eval.engine.room import make_room
from rope_scaling.eval.engine.rows import Tokens


@dataclass
class Work:
    """What has been computed.

    Attributes:
        tokens: read by forward passes, padding included; tokens that are generated are not counted.
        passes: forward passes.
    """

    tokens: int = 0
    passes: int = 0


def innermost(model: Any) -> Any:
    """The model inside of what passes everything on to it: `torch.compile`'s wrapper, PEFT."""
    plain = getattr(model, "_orig_mod", model)
    return plain.get_base_model() if hasattr(plain, "get_base_model") else plain


class Reader:
    """Reads tokens with a model, `chunk` of each text at a time.

    Attributes:
        work: what has been computed.
        takes_keep: the model computes no more logits than it is asked for.
        takes_positions: it is told positions, so padding may stand anywhere before the last token.

    Args:
        model: a causal language model in evaluation mode.
        device: where it takes its input.
        chunk: tokens of a text that one forward pass reads at most.
        autocast: what forward passes run under, or None.
    """

    def __init__(self, model: Any, device: torch.device, chunk: int = 512, autocast: torch.dtype | None = None) -> None:
        self.model, self.device, self.chunk, self.autocast = model, device, chunk, autocast
        self.work = Work()
        parameters = inspect.signature(innermost(model).forward).parameters
        self.takes_keep = "logits_to_keep" in parameters
        self.takes_positions = "position_ids" in parameters
        self.vocabulary = int(model.config.get_text_config().vocab_size)
        self.parameters: int = sum(one.numel() for one in model.parameters())

    def tensor(self, texts: Sequence[Tokens], pad: int = 0) -> Tensor:
        """Texts side by side, padded on the right, (texts, longest)."""
        width = max(len(text) for text in texts)
        return torch.tensor([text + [pad] * (width - len(text)) for text in texts], device=self.device)

    def read(self, ids: Tensor, cache: Any, keep: int, *, use_cache: bool = True, room: int = 0) -> tuple[Tensor, Any]:
        """Read `ids`, (texts, tokens), after `cache`, which is given room for `room` tokens.

        Returns:
            The logits of the last `keep` positions, (texts, keep, vocabulary), and the longer cache.
        """
        self.work.tokens += ids.numel()
        self.work.passes += 1
        kept = {"logits_to_keep": max(keep, 1)} if self.takes_keep else {}  # 0 would mean all of them
        with torch.no_grad(), self._precision():
            out = self.model(ids, past_key_values=cache, use_cache=use_cache, **kept)
        logits: Tensor = out.logits
        after = out.past_key_values if use_cache else None
        if room and after is not None:
            make_room(after, room)
        return logits[:, logits.shape[1] - keep :], after

    def extend(self, ids: Tokens, cache: Any, room: int) -> Any:
        """Read a text after `cache` for its keys and values alone; returns the longer cache."""
        for start in range(0, len(ids), self.chunk):
            _, cache = self.read(self.tensor([ids[start : start + self.chunk]]), cache, 0, room=room)
        return cache

    def _precision(self) -> AbstractContextManager[Any]:
        return torch.autocast(self.device.type, dtype=self.autocast, enabled=self.autocast is not None)
