"""The hooks around a home's forward: they say to its rotary modules whose forward it is, and with which cache."""

from __future__ import annotations

import inspect
from typing import Any

from torch import Tensor, nn

from rope_scaling.patches.cache_guard import made_cache, of_self
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
    cache = argument_of(home, args, rest, "past_key_values")
    mask = argument_of(home, args, rest, "attention_mask")
    outer = running.call
    while outer is not None and outer.home is home:  # left there by an interrupt: no home calls itself
        outer = outer.outer
    plan = running.plan if asked is None else make_plan(homes_in(home), asked, running.plan)
    batch = batch_of(home, args, rest)
    running.call = Call(home, None if batch is None else batch.shape[0], of_self(cache), mask, plan, outer)
    return args, rest


def end(home: nn.Module, args: tuple[Any, ...], output: Any) -> None:
    """After a forward, also one that failed."""
    call = running.call
    if call is None or call.home is not home:
        return
    made = of_self(made_cache(output))
    if call.cache is None and made is not None:
        call.keep(made)
    running.call = call.outer


def batch_of(home: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor | None:
    """The batch that a home's forward is given, (rows, tokens, ...): position_ids are often one row for all."""
    for name in ("input_ids", "inputs_embeds"):
        batch = argument_of(home, args, kwargs, name)
        if isinstance(batch, Tensor):
            return batch
    return None


def argument_of(home: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], name: str) -> Any:
    """An argument of a home's forward, by name wherever it stands; None where it is not given."""
    if name in kwargs or not args:
        return kwargs.get(name)
    names = [one for one in inspect.signature(type(home).forward).parameters if one != "self"]
    at = names.index(name) if name in names else len(args)
    return args[at] if at < len(args) else None
