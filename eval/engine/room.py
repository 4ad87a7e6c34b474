"""Cache layers that are given room for a whole text once, instead of growing by copies of themselves."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicLayer


class RoomyLayer(DynamicLayer):  # type: ignore[no-untyped-call]  # its __init_subclass__ is untyped
    """A `DynamicLayer` that writes new keys and values behind the old ones, where there is room.

    Concatenation, as in `DynamicLayer`, leaves a hole in the allocator's memory for every chunk: at 16k tokens the
    holes took as much as keys and values. `keys` and `values` are views of what is held; whoever replaces or crops
    them changes nothing that this relies on.
    """

    room = 0
    held: tuple[Tensor, Tensor] | None = None

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Add keys and values, (texts, heads, tokens, head_dim), and return all of them."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        keys, values = self.keys, self.values
        assert keys is not None
        assert values is not None
        old = self.get_seq_length()
        new = old + key_states.shape[-2]
        held = self.held
        if held is None or not (_begins(held[0], keys, old, new) and _begins(held[1], values, old, new)):
            held = (_roomy(keys, key_states, max(self.room, new)), _roomy(values, value_states, max(self.room, new)))
            self.held = held
        held[0][..., old:new, :] = key_states
        held[1][..., old:new, :] = value_states
        self.keys, self.values = held[0][..., :new, :], held[1][..., :new, :]
        return self.keys, self.values


def make_room(cache: Any, tokens: int) -> None:
    """Let the plain layers of a cache hold `tokens` tokens without growing."""
    for layer in cache.layers:
        if type(layer) is DynamicLayer:
            layer.__class__ = RoomyLayer
        if isinstance(layer, RoomyLayer):
            layer.room = tokens


def release(cache: Any) -> None:
    """Free what crops only hide."""
    for layer in cache.layers:
        if isinstance(layer, DynamicLayer) and layer.keys is not None and layer.values is not None:
            layer.keys, layer.values = layer.keys.clone(), layer.values.clone()
            if isinstance(layer, RoomyLayer):
                layer.held = None


def tensors_of(layer: DynamicLayer) -> list[Tensor]:
    """A layer's keys and values, and what they are views of."""
    held = layer.held if isinstance(layer, RoomyLayer) and layer.held else ()
    return [one for one in (layer.keys, layer.values, *held) if one is not None]


def _begins(held: Tensor, states: Tensor, old: int, new: int) -> bool:
    """Whether `states`, `old` tokens, are the beginning of what is held, with room for `new`."""
    same = states.data_ptr() == held.data_ptr() and states.stride() == held[..., :old, :].stride()
    return same and states.shape[:2] == held.shape[:2] and new <= held.shape[-2]


def _roomy(states: Tensor, like: Tensor, tokens: int) -> Tensor:
    held = torch.empty((*like.shape[:-2], tokens, like.shape[-1]), dtype=like.dtype, device=like.device)
    if states.numel():
        held[..., : states.shape[-2], :] = states
    return held
