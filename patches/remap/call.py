"""One forward of a remapped model: where its new tokens and those in its cache stand in their own sequences."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from rope_scaling.patches.dynamic.call import NOWHERE, span
from rope_scaling.patches.dynamic.held import Held, begin, held_by, is_static, slots_of, tokens_in
from rope_scaling.patches.remap.engine import Turn, Visible, key_turn
from rope_scaling.patches.remap.layer import RemappedLayer
from rope_scaling.remap import LogRatio


class Call:
    """A forward under way; the first rotary module that runs in it tells the positions, the others see the same.

    Attributes:
        home: The module whose forward it is.
        count: Rows of its batch; None where its arguments do not tell.
        tokens: New tokens in a row; likewise.
        cache: Its KV cache.
        static: Whether the cache writes into tensors of one size.
        mask: Its attention mask, which says what is padding.
        told: Whether its caller has given positions.
        outer: The call that it was made in.
        queries: (rows, new tokens), int64: the index of each new token in its own sequence, once that is known: its
            position less that of its row's first token that is no padding.
        keys: (rows, slots), int64: that of every token in the cache, the new ones among them; the new ones last where
            a static cache rolls its slots.
        rolled: Tokens that a static cache will have read, where its layers roll; else None.
        longest: All new tokens have an index below.
        plain: Whether every token's index is its slot, as far as the host knows.
        masks: The masks that were read, each for so many keys and a window.
    """

    def __init__(
        self, home: nn.Module, batch: Tensor | None, cache: Any, mask: Any, told: bool, outer: Call | None
    ) -> None:
        self.home, self.cache, self.mask, self.told, self.outer = home, cache, mask, told, outer
        self.count = None if batch is None else batch.shape[0]
        self.tokens = None if batch is None else batch.shape[1]
        self.static = cache is not None and is_static(cache)
        self.queries: Tensor | None = None
        self.keys: Tensor | None = None
        self.rolled: Any = None
        self.longest: Any = None
        self.plain = False
        self.masks: list[tuple[Any, Any, Visible | None]] = []
        self._read: tuple[Tensor, Tensor | None] | None = None
        self._turns: list[tuple[RemappedLayer, int, torch.device, Turn]] = []
        self._sharpness: list[tuple[LogRatio, Tensor]] = []

    def settle(self, position_ids: Tensor) -> None:
        """Note the positions, (rows or 1, tokens) or (axes, rows or 1, tokens), that a rotary module is given.

        Raises:
            ValueError: They differ by axis, or are not those of the new tokens.
        """
        tokens = position_ids.shape[-1] if self.tokens is None else self.tokens
        if position_ids.shape[-1] != tokens:
            raise ValueError(
                f"a rotary module of {type(self.home).__name__} is given {position_ids.shape[-1]} positions for "
                f"{tokens} new tokens: it turns earlier ones anew, outside of Transformers' attention interface, and "
                "remapped positions would not reach those"
            )
        if self.queries is not None:
            return
        positions = _on_one_axis(position_ids)
        positions = positions.expand(self.count or positions.shape[0], -1).long()
        keys, read, first = positions, 0, self._first(positions)
        if self.cache is not None:
            read = tokens_in(self.cache)
            held = held_by(self.cache, positions[None], positions.device)
            first = held.first if first is None else torch.minimum(held.first, first)
            keys = self._kept(held, positions, first)
        self._read = positions, first
        self.queries, self.keys = _counted(positions, first), _counted(keys, first)
        self.longest = self._longest(self.queries, read)
        self.plain = self._is_plain(self.queries)

    def keep(self, cache: Any) -> None:
        """Let a cache that the forward has made itself remember what was read into it."""
        if self._read is not None:
            positions, first = self._read
            held = begin(cache, positions[None], positions.device)
            held.positions = positions[None]
            held.first = torch.zeros_like(held.first) if first is None else first

    def turn(self, layer: RemappedLayer, slots: int, device: torch.device) -> Turn:
        """By what keys turn for the one query of this call: computed once for all layers that are alike."""
        for known, of_slots, on, turn in self._turns:
            if of_slots == slots and on == device and _alike(known, layer):
                return turn
        made = key_turn(*self.index(slots, device), layer.bands, layer.layout.on(device))
        self._turns.append((layer, slots, device, made))
        return made

    def sharpened(self, layer: RemappedLayer, query: Tensor) -> Tensor:
        """Queries, (rows, heads, new tokens, dims), multiplied by what their scores are to be multiplied by."""
        if layer.sharpness is None:
            return query
        for known, factors in self._sharpness:
            if known == layer.sharpness:
                return (query * factors.to(query.device)).to(query.dtype)
        assert self.queries is not None
        factors = layer.sharpness(self.queries).float()[:, None, :, None]
        self._sharpness.append((layer.sharpness, factors))
        return (query * factors.to(query.device)).to(query.dtype)

    def index(self, slots: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Those of the queries, (rows, new tokens), and of keys, (rows, slots).

        They are the last tokens of a cache that grows, and the first slots of a static one until those are rolled.
        """
        assert self.queries is not None
        assert self.keys is not None
        if self.rolled is not None:
            known = self.keys.shape[1]
            start = torch.as_tensor(self.rolled - slots, device=self.keys.device).clamp(min=0)
            place = start - self.rolled + known + torch.arange(slots, device=self.keys.device)
            keys = self.keys.index_select(1, place.clamp(max=known - 1))  # no token is in a slot that is not filled
        else:
            keys = self.keys[:, :slots] if self.static else self.keys[:, self.keys.shape[1] - slots :]
        return self.queries.to(device), keys.to(device)

    def _first(self, positions: Tensor) -> Tensor | None:
        """The position, (rows,), of each row's first new token that is no padding; None where it is surely 0."""
        if self.cache is None and self.mask is None and not self.told:
            return None
        read = None if self.cache is None else tokens_in(self.cache)
        return span(positions[None], self.mask, read)[1]

    def _kept(self, held: Held, positions: Tensor, first: Tensor) -> Tensor:
        """Let the cache remember the new tokens; the positions of all, as `keys` has them."""
        rolls = self.static and any(getattr(layer, "is_sliding", False) for layer in self.cache.layers)
        before = held.latest(self.cache)[0] if rolls else None
        self.rolled = tokens_in(self.cache) + positions.shape[1] if rolls else None
        held.keep(held.rows, first, positions[None], self.cache)
        return held.positions[0] if before is None else torch.cat((before, positions), dim=1)

    def _longest(self, positions: Tensor, read: Any) -> Any:
        """A bound on the index of new tokens, exact where no device must be waited for.

        One new token whose position was given is taken to follow those before it: asking would stall every step.
        """
        bound = slots_of(self.cache) if self.static else read + positions.shape[1]
        if torch.compiler.is_compiling() or type(positions) is not Tensor or positions.is_meta:
            return bound
        surely = positions.device.type != "cpu" and (positions.shape[1] == 1 or not (self.told or self.static))
        return bound if surely or not positions.numel() else int(positions.max()) + 1

    def _is_plain(self, positions: Tensor) -> bool:
        if positions.shape[1] == 1 or self.static:
            return False
        if torch.compiler.is_compiling():
            return not self.told and self.cache is None and self.mask is None
        assert self.keys is not None
        slots = torch.arange(self.keys.shape[1], device=self.keys.device)
        return not positions.is_meta and bool((self.keys == slots).all())


def _alike(one: RemappedLayer, other: RemappedLayer) -> bool:
    return one is other or (one.layout == other.layout and one.bands == other.bands)


def _counted(positions: Tensor, first: Tensor | None) -> Tensor:
    """Indices, (rows, tokens), from the first token on; as they are in rows of padding only."""
    return positions if first is None else positions - first.masked_fill(first == NOWHERE, 0)[:, None]


def _on_one_axis(position_ids: Tensor) -> Tensor:
    """(rows or 1, tokens); a text's positions are the same on all axes."""
    if position_ids.dim() < 3:
        return position_ids
    first = position_ids[0]
    if not torch.compiler.is_compiling() and not first.is_meta and not bool((position_ids == first).all()):
        raise ValueError(
            "these tokens have other positions by height and width (images or video): a remap scheme puts one "
            "distance between two tokens of a text; use a frequency scheme"
        )
    return first
