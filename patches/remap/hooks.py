"""The hooks that tell a remapped model's attention where tokens stand: around its forward and at rotary modules."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from torch.utils.weak import WeakTensorKeyDictionary

from rope_scaling.patches.cache_guard import made_cache, of_self
from rope_scaling.patches.dynamic.hooks import argument_of, batch_of
from rope_scaling.patches.remap.attention import register
from rope_scaling.patches.remap.call import Call
from rope_scaling.patches.remap.running import running

_calls: Any = WeakTensorKeyDictionary()
"""The call in which a tensor was made that attention is given again when it is computed anew for a backward pass."""


def hook_home(home: nn.Module) -> list[RemovableHandle]:
    """Hooks around a model's forward."""
    return [
        home.register_forward_pre_hook(begin, with_kwargs=True),
        home.register_forward_hook(end, always_call=True),
    ]


def hook_rotary(rotary: nn.Module) -> list[RemovableHandle]:
    """Hooks at a rotary module."""
    return [
        rotary.register_forward_pre_hook(_settle, with_kwargs=True),
        rotary.register_forward_hook(_remember, with_kwargs=True),
    ]


def hook_attention(attention: nn.Module) -> list[RemovableHandle]:
    """Hooks around an attention module: gradient checkpointing computes it again when its model's forward has ended."""
    return [
        attention.register_forward_pre_hook(_recall, with_kwargs=True),
        attention.register_forward_hook(_forget, always_call=True),
    ]


def begin(home: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Before a forward: note its cache, and what is padding."""
    if not torch.compiler.is_compiling():
        register(str(getattr(home.config, "_attn_implementation", None) or "eager"))
    outer = running.call
    while outer is not None and outer.home is home:  # left there by an interrupt: no home calls itself
        outer = outer.outer
    cache = of_self(argument_of(home, args, kwargs, "past_key_values"))
    told = argument_of(home, args, kwargs, "position_ids") is not None
    mask = argument_of(home, args, kwargs, "attention_mask")
    running.call = Call(home, batch_of(home, args, kwargs), cache, mask, told, outer)


def end(home: nn.Module, args: tuple[Any, ...], output: Any) -> None:
    """After a forward, also one that failed."""
    call = running.call
    if call is None or call.home is not home:
        return
    made = of_self(made_cache(output))
    if call.cache is None and made is not None:
        call.keep(made)
    running.call = call.outer


def positions_given(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """The positions that a rotary module is called with."""
    found: Tensor = kwargs["position_ids"] if "position_ids" in kwargs else args[1]
    return found


def _settle(rotary: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    if running.call is not None:
        running.call.settle(positions_given(args, kwargs))


def _remember(rotary: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
    if running.call is not None and torch.is_grad_enabled() and not torch.compiler.is_compiling():
        for tensor in _tensors((positions_given(args, kwargs), output)):
            _calls[tensor] = running.call


def _recall(attention: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    if running.call is None and not torch.compiler.is_compiling():
        running.call = next((_calls[one] for one in _tensors((args, kwargs)) if one in _calls), None)
        if running.call is not None:
            running.recalled = attention


def _forget(attention: nn.Module, args: tuple[Any, ...], output: Any) -> None:
    if running.recalled is attention:
        running.call = running.recalled = None


def _tensors(held: Any) -> Iterator[Tensor]:
    if isinstance(held, Tensor):
        yield held
    elif isinstance(held, (tuple, list)):
        for one in held:
            yield from _tensors(one)
    elif isinstance(held, dict):
        yield from _tensors(list(held.values()))
