"""The class that a patched rotary module gets: its own, with frequencies that stay float32."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig

from rope_scaling.patches.fresh import make_fresh

_PATCHED: dict[tuple[type[nn.Module], bool], type[nn.Module]] = {}


class KeepsFloat32:
    """Mixin that keeps frequency buffers in float32, and their numbers, wherever a model is moved or cast.

    `model.to(torch.bfloat16)` leaves 8 bits of an `inv_freq`: at position 32768 an angle is then wrong by up to six
    turns (rotary_dim 128, theta 1e4). `to_empty` leaves none at all.
    """

    _buffers: dict[str, Tensor | None]
    config: PreTrainedConfig

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
        exact = {name: b for name, b in self._buffers.items() if b is not None and b.dtype == torch.float32}
        module: nn.Module = super()._apply(fn, recurse)  # type: ignore[misc]
        fresh: nn.Module | None = None
        for name, buffer in exact.items():
            moved = self._buffers[name]
            if moved is None or moved is buffer:
                continue
            if buffer.is_meta and not moved.is_meta:
                fresh = fresh or make_fresh(unpatched_class(type(self)), self.config)
                buffer = fresh.get_buffer(name)
            self._buffers[name] = buffer.to(moved.device)
        return module

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        # pickle finds classes by name, and this one's name is its base's: rebuild it from that
        cls = type(self)
        return _blank, (unpatched_class(cls), "forward" in vars(cls)), dict(self.__dict__)


def patched_class(base: type[nn.Module], *, static: bool) -> type[nn.Module]:
    """The subclass of `base` that patched modules get; always the same one, and of the same name as `base`.

    Transformers' weight initialisation knows rotary modules by `RotaryEmbedding` in the name of their class.

    Args:
        base: A rotary class, patched or not.
        static: Whether its frequencies are the same for every length.
    """
    base = unpatched_class(base)
    if (base, static) not in _PATCHED:
        own: dict[str, Any] = {key: getattr(base, key) for key in ("__module__", "__qualname__", "__doc__")}
        if static:
            # without Transformers' `dynamic_rope_update`: no look at the largest position, which older versions take
            # on the host, and no write into the buffer
            own["forward"] = torch.no_grad()(inspect.unwrap(base.forward))
        made: type[nn.Module] = type(base.__name__, (KeepsFloat32, base), own)
        return _PATCHED.setdefault((base, static), made)  # two threads get the same one
    return _PATCHED[base, static]


def unpatched_class(cls: type) -> type[nn.Module]:
    """The class that a patched class was made from; any other class itself."""
    return cls.__bases__[1] if is_patched_class(cls) else cls


def is_patched_class(cls: type) -> bool:
    """Whether `patched_class` made it."""
    return cls.__bases__[:1] == (KeepsFloat32,)


def _blank(base: type[nn.Module], static: bool) -> nn.Module:
    cls = patched_class(base, static=static)
    return cls.__new__(cls)
