"""Reading a few tokens with a model, at positions of one's own, while its attention is looked at."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from rope_scaling.patches.discover import RotarySite, frequency_buffers
from rope_scaling.patches.remap.attention import register
from rope_scaling.patches.remap.hooks import positions_given
from rope_scaling.patches.remap.running import running
from rope_scaling.patches.remap.view import shown_by, view_of


class ElsewhereError(ValueError):
    """Something of a model rotates, or looks at rotated keys, where remapped positions would not reach it."""


def read_tokens(home: nn.Module, count: int, **inputs: Any) -> Any:
    """A forward over some tokens that are no padding."""
    weights: Any = home.get_input_embeddings()  # type: ignore[operator]
    some = weights.weight.shape[0] // 2
    device = "cpu" if weights.weight.is_meta else weights.weight.device  # what fetches its weights moves the tokens too
    taken = inspect.signature(type(home).forward).parameters
    inputs = {key: value for key, value in inputs.items() if key in taken or "kwargs" in taken}
    return home(input_ids=some + torch.arange(count, device=device)[None] % max(1, some - 1), **inputs)


@contextlib.contextmanager
def at_positions(sites: list[RotarySite], where: list[int]) -> Iterator[None]:
    """Let every rotary module turn by these positions, one a token, whatever it is given."""

    def told(rotary: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        given = positions_given(args, kwargs)
        if given.shape[-1] != len(where):
            raise ElsewhereError(
                f"{type(rotary).__name__} is given {given.shape[-1]} positions for {len(where)} new tokens: it turns "
                "more than their queries and keys, outside of Transformers' attention interface, and remapped "
                "positions would not reach that; use a frequency scheme"
            )
        put = torch.tensor(where, dtype=given.dtype, device=given.device).expand_as(given)
        rest = {key: value for key, value in kwargs.items() if key != "position_ids"}
        return (args[0] if args else rest.pop("x"), put, *args[2:]), rest

    handles = [site.module.register_forward_pre_hook(told, with_kwargs=True, prepend=True) for site in sites]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextlib.contextmanager
def viewed(home: nn.Module) -> Iterator[None]:
    """Let every module that may hold attention call the remapped attention function."""
    held = {}
    for module in home.modules():
        config = vars(module).get("config")
        if isinstance(module, PreTrainedModel) or frequency_buffers(module):
            continue
        if isinstance(config, PreTrainedConfig):
            held[module] = config
            register(shown_by(config)._attn_implementation or "eager")
            vars(module)["config"] = view_of(shown_by(config))
    try:
        yield
    finally:
        for module, config in held.items():
            vars(module)["config"] = config


@contextlib.contextmanager
def quietly(home: nn.Module) -> Iterator[None]:
    """Without dropout, without gradients, without whatever forward is under way."""
    training = [module for module in home.modules() if module.training]
    call, running.call = running.call, None
    home.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        running.call = call
        for module in training:
            module.training = True
