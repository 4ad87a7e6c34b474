"""Everything about a rotary module that a patch replaces, as one value that can be put back."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig

from rope_scaling.patches.dynamic.grid import is_grid
from rope_scaling.patches.fresh import make_fresh
from rope_scaling.patches.rotary import unpatched_class

ORIGINAL = "_rope_scaling_original"
"""Attribute of a patched module that holds the state it had before."""

_MODULE_INTERNALS = frozenset(vars(nn.Module())) | {"config", ORIGINAL}
_EXACT = 1e-6
_SET_WHILE_RUNNING = ("inv_freq", "max_seq_len_cached")


@dataclass(frozen=True)
class RotaryState:
    """The class, plain attributes and buffers of a rotary module.

    The config, hooks and whatever other libraries have put on the module stay with the module.
    """

    cls: type[nn.Module]
    attributes: dict[str, Any]
    buffers: dict[str, Tensor]


def fresh_module(cls: type[nn.Module], config: PreTrainedConfig) -> nn.Module:
    """A rotary module as Transformers itself makes it from `config`, on the CPU, whether `cls` is patched or not.

    Raises:
        ValueError: The class cannot be made from a config alone.
    """
    return make_fresh(unpatched_class(cls), config)


def native_state(cls: type[nn.Module], config: PreTrainedConfig) -> RotaryState:
    """The state of a module of class `cls` made by Transformers from `config`."""
    module = fresh_module(cls, config)
    return read_state(module, set(vars(module)) - _MODULE_INTERNALS)


def read_state(module: nn.Module, names: set[str]) -> RotaryState:
    """The state of a live module: the attributes called `names`, those set while running, and all buffers."""
    held = {n for n in vars(module) if n in names or n.endswith(_SET_WHILE_RUNNING)} - _MODULE_INTERNALS
    buffers = {n: buffer for n, buffer in module._buffers.items() if buffer is not None and not is_grid(n)}
    return RotaryState(type(module), {name: vars(module)[name] for name in held}, buffers)


def write_state(module: nn.Module, state: RotaryState, cls: type[nn.Module]) -> None:
    """Make `module` a `cls` with this state; buffers go to the device where the module's are now."""
    device = buffer_device(module)
    for name in read_state(module, set(state.attributes)).attributes:
        delattr(module, name)
    _bind_forward(module, cls)
    module.__class__ = cls
    vars(module).update(state.attributes)
    for name, buffer in state.buffers.items():
        module._buffers[name] = buffer.to(device)


def with_numbers(state: RotaryState, config: PreTrainedConfig) -> RotaryState:
    """`state` with buffers that have numbers: those on the meta device are made from `config`."""
    if not any(buffer.is_meta for buffer in state.buffers.values()):
        return state
    made = native_state(state.cls, config).buffers
    return replace(state, buffers={n: made[n] if b.is_meta and n in made else b for n, b in state.buffers.items()})


def exact_state(state: RotaryState, native: RotaryState) -> RotaryState:
    """`state` with frequencies that Transformers makes from the config where its own were rounded or switched."""
    exact = {
        name: buffer
        for name, buffer in native.buffers.items()
        if name in state.buffers and not is_exactly(state.buffers[name], buffer)
    }
    return replace(native, cls=state.cls, buffers=state.buffers | exact)


def is_exactly(live: Tensor, meant: Tensor) -> bool:
    """Whether frequencies are those that are meant, up to what two devices may differ by."""
    if live.is_meta:
        return True
    alike = live.dtype == meant.dtype and live.shape == meant.shape
    return alike and torch.allclose(live.to("cpu"), meant.to("cpu"), rtol=_EXACT, atol=0)


def _bind_forward(module: nn.Module, cls: type[nn.Module]) -> None:
    """Where a module holds its class's `forward` itself, make it hold that of `cls`.

    Accelerate's hooks do: they call `_old_forward`, bound before, and so would go past the new class; hooks that were
    taken off leave it behind as `forward`.
    """
    for name in ("forward", "_old_forward"):
        held = vars(module).get(name)
        if isinstance(held, MethodType) and held.__func__ is type(module).forward:
            vars(module)[name] = MethodType(cls.forward, module)


def buffer_device(module: nn.Module) -> torch.device:
    """Where the module's buffers are."""
    return next(buffer.device for buffer in module._buffers.values() if buffer is not None)
