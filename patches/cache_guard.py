"""A guard against using a KV cache with other frequencies than those it was filled with."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

_GUARD = "_rope_scaling_guard"
_FILLED_WITH = "_rope_scaling_filled_with"


@dataclass(frozen=True)
class CacheGuard:
    """Hooks that mark every cache with the patch it is filled under, and refuse one that bears another mark.

    Keys lie rotated in a cache. Under `torch.compile` the guard is silent: it must put nothing into the graph.
    """

    fingerprint: str

    def before(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Refuse a cache filled under other frequencies, mark an empty one."""
        if torch.compiler.is_compiling():
            return
        cache = kwargs.get("past_key_values")
        if cache is None and args:
            cache = inspect.signature(module.forward).bind_partial(*args).arguments.get("past_key_values")
        if cache is None:
            return
        mark = getattr(cache, _FILLED_WITH, None)
        if mark != self.fingerprint and (mark is not None or _surely_filled(cache)):
            raise ValueError(
                "past_key_values was filled before this model was patched, under another patch, or by something else "
                "than this model (a learned prefix): its keys are rotated by other frequencies, and attention over "
                "both would be noise; start with an empty cache"
            )
        _mark(cache, self.fingerprint)

    def after(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        """Mark the cache that a call without one has made."""
        cache = made_cache(output)
        if cache is not None and not torch.compiler.is_compiling():
            _mark(cache, self.fingerprint)


def install_guard(module: nn.Module, fingerprint: str) -> None:
    """Guard the caches that `module` is called with, in place of an earlier guard."""
    remove_guard(module)
    whole = isinstance(module, PreTrainedModel)  # a part of one is given a cache that earlier parts have filled
    if not whole or "past_key_values" not in inspect.signature(type(module).forward).parameters:
        return
    guard = CacheGuard(fingerprint)
    handles = [
        module.register_forward_pre_hook(guard.before, with_kwargs=True),
        module.register_forward_hook(guard.after),
    ]
    vars(module)[_GUARD] = (fingerprint, handles)


def remove_guard(module: nn.Module) -> None:
    """Take the guard off, if there is one."""
    _, handles = vars(module).pop(_GUARD, (None, []))
    for handle in handles:
        handle.remove()


def guard_of(module: nn.Module) -> str | None:
    """The fingerprint that caches are checked against, None without a guard."""
    fingerprint: str | None = vars(module).get(_GUARD, (None, []))[0]
    return fingerprint


def made_cache(output: Any) -> Any:
    """The cache in what a forward has returned, an object or a tuple; None without one."""
    caches = output if isinstance(output, tuple) else (getattr(output, "past_key_values", None),)
    return next((one for one in caches if of_self(one) is not None), None)


def of_self(cache: Any) -> Any:
    """The part of a cache that holds the keys of self-attention; None for what is no cache."""
    if hasattr(cache, "self_attention_cache"):
        return cache.self_attention_cache
    return cache if hasattr(cache, "get_seq_length") else None


def _surely_filled(cache: Any) -> bool:
    """Whether a cache holds keys, where that can be known without asking the device.

    A static cache counts its tokens on the device; it is not asked.
    """
    length = cache.get_seq_length() if hasattr(cache, "get_seq_length") else 0
    return isinstance(length, int) and length > 0


def _mark(cache: Any, fingerprint: str) -> None:
    if hasattr(cache, "__dict__"):
        vars(cache)[_FILLED_WITH] = fingerprint
