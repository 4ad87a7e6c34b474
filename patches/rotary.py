"""The class that a patched rotary module gets: its own, with frequencies that stay float32."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig

from rope_scaling.patches.dynamic.grid import GRIDS, grid_buffers
from rope_scaling.patches.dynamic.rows import rowwise
from rope_scaling.patches.fresh import make_fresh

_PATCHED: dict[tuple[type[nn.Module], str], type[nn.Module]] = {}


STATIC, BY_CALL, BY_ROW = "static", "by call", "by row"


class KeepsFloat32:
    """Mixin that keeps frequency buffers in float32, and their numbers, wherever a model is moved or cast.

    `model.to(torch.bfloat16)` leaves 8 bits of an `inv_freq`: at position 32768 an angle is then wrong by up to six
    turns (rotary_dim 128, theta 1e4). `to_empty` leaves none at all.
    """

    kind: ClassVar[str]
    _buffers: dict[str, Tensor | None]
    config: PreTrainedConfig

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
        exact = {name: b for name, b in self._buffers.items() if b is not None and b.dtype == torch.float32}
        module: nn.Module = super()._apply(fn, recurse)  # type: ignore[misc]
        fresh: dict[str, Tensor] = {}
        for name, buffer in exact.items():
            moved = self._buffers[name]
            if moved is None or moved is buffer:
                continue
            if buffer.is_meta and not moved.is_meta:
                fresh = fresh or self._fresh_buffers()
                buffer = fresh[name]
            self._buffers[name] = buffer.to(moved.device)
        return module

    def _fresh_buffers(self) -> dict[str, Tensor]:
        """The buffers as they are made from the config, on the CPU."""
        return dict(make_fresh(unpatched_class(type(self)), self.config).named_buffers())

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        # pickle finds classes by name, and this one's name is its base's: rebuild it from that
        cls = type(self)
        return _blank, (unpatched_class(cls), self.kind), dict(self.__dict__)


class RowsOfGrid(KeepsFloat32):
    """The same for a module that holds a grid of frequencies as well."""

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
        was_meta = any(b is not None and b.is_meta for b in self._buffers.values())
        module = super()._apply(fn, recurse)
        for name, buffer in self._buffers.items():
            if was_meta and buffer is not None and not buffer.is_meta and not buffer.is_floating_point():
                self._buffers[name] = self._fresh_buffers().get(name, buffer).to(buffer.device)  # lengths of the rows
        return module

    def _fresh_buffers(self) -> dict[str, Tensor]:
        fresh = super()._fresh_buffers()
        return fresh | grid_buffers(vars(self)[GRIDS], fresh)


def patched_class(base: type[nn.Module], kind: str) -> type[nn.Module]:
    """The subclass of `base` that patched modules get; always the same one, and of the same name as `base`.

    Transformers' weight initialisation knows rotary modules by `RotaryEmbedding` in the name of their class.

    Args:
        base: A rotary class, patched or not.
        kind: STATIC where its frequencies are the same for every length, BY_CALL where the class chooses them itself
            for each call, BY_ROW where each row of a batch has its own.
    """
    base = unpatched_class(base)
    if (base, kind) not in _PATCHED:
        own: dict[str, Any] = {key: getattr(base, key) for key in ("__module__", "__qualname__", "__doc__")}
        own["kind"] = kind
        if kind == STATIC:
            # without Transformers' `dynamic_rope_update`: no look at the largest position, which older versions take
            # on the host, and no write into the buffer
            own["forward"] = torch.no_grad()(inspect.unwrap(base.forward))
        mixin = RowsOfGrid if kind == BY_ROW else KeepsFloat32
        if kind == BY_ROW:
            own["forward"] = rowwise(base)
        made: type[nn.Module] = type(base.__name__, (mixin, base), own)
        return _PATCHED.setdefault((base, kind), made)  # two threads get the same one
    return _PATCHED[base, kind]


def unpatched_class(cls: type) -> type[nn.Module]:
    """The class that a patched class was made from; any other class itself."""
    return cls.__bases__[1] if is_patched_class(cls) else cls


def is_patched_class(cls: type) -> bool:
    """Whether `patched_class` made it."""
    return cls.__bases__[:1] in ((KeepsFloat32,), (RowsOfGrid,))


def _blank(base: type[nn.Module], kind: str) -> nn.Module:
    cls = patched_class(base, kind)
    return cls.__new__(cls)
