"""The hooks around a home's forward: they say to its rotary modules whose forward it is, and with which cache."""

from __future__ import annotations

import inspect
from typing import Any

from torch import Tensor, nn

from rope_scaling.patches.dynamic.call import Call
from rope_scaling.patches.dynamic.plans import HOME, homes_in, make_plan
from rope_scaling.patches.dynamic.running import running

_ARGUMENT = "rope_length"


def install_hooks(home: nn.Module) -> None:
    """Put the hooks on, in place of earlier ones."""
    remove_hooks(home)
    vars(home)[HOME] = [
        home.register_forward_pre_hook(begin, with_kwargs=True),
        home.register_forward_hook(end, always_call=True),
    ]


def remove_hooks(home: nn.Module) -> None:
    """Take them off, if there are any."""
    for handle in vars(home).pop(HOME, ()):
        handle.remove()


def begin(home: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Before a forward: note its cache and its mask, and the length that it was given as `rope_length=`."""
    asked = kwargs.get(_ARGUMENT)
    rest = {key: value for key, value in kwargs.items() if key != _ARGUMENT}
    cache = _argument(home, args, rest, "past_key_values")
    mask = _argument(home, args, rest, "attention_mask")
    call = Call(home, _rows(home, args, rest), _of_self(cache), mask, running.call, running.plan)
    running.call = call
    if asked is not None:
        running.plan = make_plan(homes_in(home), asked)
    return args, rest


def end(home: nn.Module, args: tuple[Any, ...], output: Any) -> None:
    """After a forward, also one that failed."""
    call = running.call
    if call is None or call.home is not home:
        return
    made = _made(output)
    if call.cache is None and made is not None:
        call.keep(made)
    running.call, running.plan = call.outer, call.outer_plan


def _made(output: Any) -> Any:
    """The cache in what a forward has returned, an object or a tuple."""
    caches = output if isinstance(output, tuple) else (getattr(output, "past_key_values", None),)
    return next((made for made in map(_of_self, caches) if made is not None), None)


def _of_self(cache: Any) -> Any:
    """The part of a cache that holds the keys of self-attention; None for what is no cache."""
    if hasattr(cache, "self_attention_cache"):
        return cache.self_attention_cache
    return cache if hasattr(cache, "layers") and hasattr(cache, "get_seq_length") else None


def _rows(home: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> int | None:
    """Rows of the batch: position_ids are often one row for all."""
    for name in ("input_ids", "inputs_embeds"):
        batch = _argument(home, args, kwargs, name)
        if isinstance(batch, Tensor):
            return batch.shape[0]
    return None


def _argument(home: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], name: str) -> Any:
    if name in kwargs or not args:
        return kwargs.get(name)
    names = [one for one in inspect.signature(type(home).forward).parameters if one != "self"]
    at = names.index(name) if name in names else len(args)
    return args[at] if at < len(args) else None
