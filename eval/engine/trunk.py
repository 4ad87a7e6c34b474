"""The KV cache of a prefix: cropped and extended from one prefix to the next, lent to the texts that go on from it."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from transformers.cache_utils import DynamicCache, DynamicLayer

from rope_scaling.eval.engine.prefixes import common_prefix
from rope_scaling.eval.engine.reader import Reader
from rope_scaling.eval.engine.room import release, tensors_of
from rope_scaling.eval.engine.rows import Tokens


class Trunk:
    """Keys and values of `ids`, one text, and nothing more."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.ids: Tokens = []
        self.cache: Any = None

    def move_to(self, ids: Tokens, room: int = 0) -> None:
        """Make it the cache of `ids`, reading only what the last prefix has not in common with it.

        Args:
            ids: the prefix.
            room: tokens of the longest text that goes on from it.
        """
        kept = common_prefix(self.ids, ids)
        self._keep(kept)
        self.cache = self.reader.extend(ids[kept:], self.cache, max(room, len(ids)))
        self.ids = ids

    @contextmanager
    def branch(self, texts: int) -> Iterator[Any]:
        """A cache to go on from for `texts` texts at once, None where there is no prefix.

        One text goes on in the trunk's own cache, which is cropped back after it.
        """
        if texts > 1 or self.cache is None:
            yield None if self.cache is None else _repeated(self.cache, texts)
            return
        yield self.cache
        self._keep(len(self.ids))

    def _keep(self, tokens: int) -> None:
        if tokens == 0:
            self.cache = None
        if self.cache is None:
            return
        held = self.cache.get_seq_length()
        self.cache.crop(tokens - held)  # Transformers takes the number of tokens to remove, as a negative number
        if held > 2 * tokens:
            release(self.cache)


def bytes_per_token(cache: DynamicCache) -> float:
    """What one token takes, of all the texts in a cache."""
    states = [state for layer in _layers(cache) for state in (layer.keys, layer.values)]
    held: int = sum(state.numel() * state.element_size() for state in states)
    return held / (cache.get_seq_length() or 1)


def _layers(cache: DynamicCache) -> list[Any]:
    """The layers that hold keys and values; some models let several layers share one's."""
    return [layer for layer in cache.layers if isinstance(layer, DynamicLayer) and layer.is_initialized]


def _repeated(cache: DynamicCache, texts: int) -> DynamicCache:
    """A cache of its own with the same keys and values for several texts."""
    shared = {id(state): state for layer in _layers(cache) for state in tensors_of(layer)}
    repeated = copy.deepcopy(cache, shared)  # all but keys and values is copied: a patched model's notes too
    repeated.batch_repeat_interleave(texts)
    return repeated
