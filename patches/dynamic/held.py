"""What a KV cache remembers of its rows: the scale that their keys are rotated at, and the positions of its tokens."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch import Tensor, nn

from rope_scaling.patches.dynamic.layout import can_grow
from rope_scaling.patches.dynamic.running import Plan

HELD = "_rope_scaling_rows"
"""Attribute of a cache."""
TRAINED = "_rope_scaling_trained"
"""Attribute of a home: L, in tokens."""
_NOWHERE = 2**62
_FOLLOWING = ("reorder_cache", "batch_repeat_interleave", "batch_select_indices", "reset")


class Held:
    """The rows of one cache.

    A static cache's are written in place, as its keys are: their addresses stand in CUDA graphs.

    Attributes:
        rows: (rows,), each one's row of the grid; -1 where nothing was read yet.
        first: (rows,), the position of its first token that is no padding.
        positions: (axes, rows, slots): of every token; a static cache's are a ring.
        residuals: For each layer's keys in half precision what rounding took from them when they were rotated anew.
        planned: Tokens that every row's keys have the scale for, as far as the host knows.
    """

    def __init__(self, positions: Tensor, device: torch.device, slots: int | None) -> None:
        axes, count, _ = positions.shape
        self.rows = torch.full((count,), -1, dtype=torch.int64, device=device)
        self.first = torch.full((count,), _NOWHERE, dtype=torch.int64, device=device)
        self.positions = torch.zeros((axes, count, slots or 0), dtype=positions.dtype, device=device)
        self.residuals: dict[str, Tensor] = {}
        self.planned = 0

    def plan(self, plans: list[Plan]) -> None:
        """Note for how long the host knows every row to be planned, once its keys have that scale."""
        if not torch.compiler.is_compiling():
            self.planned = max([self.planned, *(plan.shortest for plan in plans)])

    def check(self, home: nn.Module, cache: Any, rows: Tensor, new: int) -> None:
        """ValueError where keys would have to be rotated anew and cannot be, as far as the host can know."""
        reason = can_grow(home, cache, self.positions.shape[0])
        if reason is None:
            return
        if torch.compiler.is_compiling():
            if not self.planned:
                raise ValueError(f"a compiled call cannot tell when this cache must not grow, and it cannot: {reason}")
            return
        known = max(int(vars(home)[TRAINED]), self.planned)
        if self._outgrown(cache, rows, new, known):
            raise ValueError(
                f"this cache cannot grow past {known} tokens with dynamic scaling: {reason}. Plan the whole length "
                "before its first token: generate() does, and `with rope_length(model, tokens):`"
            )

    def _outgrown(self, cache: Any, rows: Tensor, new: int, known: int) -> bool:
        """Whether a row that has begun gets another scale; where only the device knows, whether it might."""
        if type(rows) is Tensor and rows.device.type == "cpu":
            return bool(((self.rows >= 0) & (rows > self.rows)).any())
        read = tokens_in(cache)
        return (slots_of(cache) if isinstance(read, Tensor) else read + new) > known

    def forget(self, which: Tensor) -> None:
        """Let rows, (rows,) or (), begin anew, in place."""
        self.rows.copy_(torch.where(which, -1, self.rows))
        self.first.copy_(torch.where(which, _NOWHERE, self.first))
        for one in self.residuals.values():
            gone = which.to(one.device)
            one.masked_fill_(gone if gone.dim() == 0 else gone[:, None, None, None], 0)

    def keep(self, rows: Tensor, first: Tensor, positions: Tensor, cache: Any) -> None:
        """Remember the scale of every row, and the positions of the tokens that are about to be cached."""
        if not is_static(cache):
            self.rows, self.first = rows, first
            self.positions = torch.cat((self.positions, positions.to(self.positions.device)), dim=-1)
            return
        self.rows.copy_(rows)
        self.first.copy_(first)
        positions, new = positions[..., -self.positions.shape[-1] :], positions.shape[-1]  # no slot is written twice
        tokens = torch.arange(new - positions.shape[-1], new, device=rows.device)
        slots = (tokens_in(cache) + tokens) % self.positions.shape[-1]
        self.positions.index_copy_(-1, slots, positions.to(self.positions.device, self.positions.dtype))

    def latest(self, cache: Any) -> Tensor:
        """The positions, (axes, rows, slots), of a static cache's last tokens, oldest first; before them anything."""
        slots = torch.arange(self.positions.shape[-1], device=self.positions.device)
        return self.positions.index_select(-1, (tokens_in(cache) + slots) % slots.shape[0])

    def of_slots(self, keys: Tensor, cache: Any) -> Tensor:
        """The positions, (axes, rows, slots), of a layer's cached keys, (rows, heads, slots, head_dim)."""
        slots = keys.shape[-2]
        if not is_static(cache):
            return self.positions[..., self.positions.shape[-1] - slots :]  # a sliding window keeps the last ones
        start = torch.as_tensor(tokens_in(cache), device=self.positions.device) - slots
        ring = (start.clamp(min=0) + torch.arange(slots, device=self.positions.device)) % self.positions.shape[-1]
        return self.positions.index_select(-1, ring)


class Follows:
    """A method of a cache that changes its rows, and then those that are remembered: bound to the cache, as it was."""

    def __init__(self, cache: Any, name: str) -> None:
        # a reference back would keep the keys until Python looks for cycles, which it does not do for their size
        self._cache, self.name = weakref.ref(cache), name

    @property
    def cache(self) -> Any:
        """The cache."""
        return self._cache()

    def __deepcopy__(self, memo: dict[int, Any]) -> Follows:
        return Follows(memo.get(id(self.cache), self.cache), self.name)

    def __reduce__(self) -> Any:
        return Follows, (self.cache, self.name)

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        """Do what the cache's own method does, and the same with what is remembered."""
        getattr(type(self.cache), self.name)(self.cache, *args, **kwargs)
        held: Held | None = vars(self.cache).get(HELD)
        if held is None:
            return
        if self.name == "reset":
            held.forget(torch.ones_like(held.rows, dtype=torch.bool))
            held.planned = 0
            return
        (argument,) = (*args, *kwargs.values())
        if self.name == "batch_repeat_interleave":
            index = torch.arange(held.rows.shape[0], device=held.rows.device).repeat_interleave(argument)
        else:
            index = argument.to(held.rows.device)
        held.rows, held.first, held.positions = held.rows[index], held.first[index], held.positions[:, index]
        held.residuals = {name: one[index.to(one.device)] for name, one in held.residuals.items()}


def begin(cache: Any, positions: Tensor, device: torch.device) -> Held:
    """Let a cache remember, of rows that have not begun."""
    held = vars(cache)[HELD] = Held(positions, device, slots_of(cache) if is_static(cache) else None)
    if not torch.compiler.is_compiling():
        vars(cache).update({name: Follows(cache, name) for name in _FOLLOWING if hasattr(cache, name)})
    return held


def held_by(cache: Any, positions: Tensor, device: torch.device) -> Held:
    """What `cache` remembers, cut to the tokens that it holds; begun anew where it holds none."""
    held: Held | None = vars(cache).get(HELD)
    read = tokens_in(cache)
    static = is_static(cache)
    if held is None and _surely(read):
        raise ValueError(
            "this cache was filled where the scale of its rows was not seen (before the patch, or by something that "
            "goes around the model's forward): start with an empty one"
        )
    if held is None or (not static and read == 0):
        return begin(cache, positions, device)
    if held.rows.shape[0] != positions.shape[1]:
        raise ValueError(
            f"this cache was filled with {held.rows.shape[0]} rows, and this batch has {positions.shape[1]}: start "
            "with an empty one"
        )
    if static:
        held.forget(torch.as_tensor(read, device=held.rows.device) == 0)
        return held
    held.positions = held.positions[..., :read]  # the cache may have been cropped
    return held


def is_static(cache: Any) -> bool:
    """Whether a cache writes into tensors of one size."""
    return any(hasattr(layer, "max_cache_len") for layer in cache.layers)


def tokens_in(cache: Any) -> Any:
    """Tokens that a cache has read, an int, or a tensor where only the device knows."""
    return cache.get_seq_length()


def _surely(read: Any) -> bool:
    """Whether a cache has read tokens, as far as that can be known without waiting for a device."""
    if isinstance(read, Tensor) and (torch.compiler.is_compiling() or read.device.type != "cpu"):
        return False
    return bool(read)


def slots_of(cache: Any) -> int:
    """Slots of the largest layer of a static cache."""
    return max(int(layer.max_cache_len) for layer in cache.layers if hasattr(layer, "max_cache_len"))
