"""Planning how long sequences will become, so that one scale holds from their first token to their last."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from rope_scaling.patches.dynamic.running import Plan, running


@contextmanager
def rope_length(model: nn.Module, tokens: int | Sequence[int] | Tensor) -> Iterator[None]:
    """Within the block every forward of `model` scales its rows for sequences of `tokens` tokens.

    For chunked prefill, evaluation and decoding loops of one's own: what a KV cache is filled with inside keeps its
    scale for the cache's life, so reading in pieces gives what one forward over the whole would. A row that becomes
    longer than planned grows. Of a model whose patch is not dynamic nothing changes. A plan is its thread's: another
    thread does not see it, another asyncio task of the same thread does.

    Args:
        model: A patched model, or what wraps one.
        tokens: The whole length of every row, or one for each row of the batch, (rows,).

    Raises:
        TypeError: `model` is no module.
        ValueError: A length is no positive integer.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    before = running.plan
    plan = make_plan(homes_in(model), tokens, outer=before)
    running.plan = plan if plan.homes else before
    try:
        yield
    finally:
        running.plan = before


HOME = "_rope_scaling_hooks"
"""Attribute of a home: the handles of its hooks."""


def homes_in(model: nn.Module) -> tuple[nn.Module, ...]:
    """The modules of a model whose rows have scales of their own."""
    return tuple(module for module in model.modules() if HOME in vars(module))


def make_plan(homes: tuple[nn.Module, ...], tokens: Any, outer: Plan | None = None) -> Plan:
    """A plan for lengths as a user gives them.

    Args:
        homes: Whose forwards it is for.
        tokens: An int, several, or a tensor: its numbers are not read.
        outer: The plan that was there before.
    """
    if isinstance(tokens, Tensor):
        if tokens.dim() > 1 or tokens.is_floating_point() or tokens.dtype == torch.bool or not tokens.numel():
            raise ValueError(
                f"rope_length must be whole tokens, () or (rows,), got {tuple(tokens.shape)} {tokens.dtype}"
            )
        return Plan(homes, tokens, outer=outer)
    several: list[Any] = list(tokens) if isinstance(tokens, Sequence) and not isinstance(tokens, str) else [tokens]
    if not several or not all(isinstance(one, int) and not isinstance(one, bool) and one > 0 for one in several):
        raise ValueError(f"rope_length must be a positive number of tokens, or one for each row, got {tokens!r}")
    return Plan(homes, torch.tensor(several, dtype=torch.int64, device=_device(homes)), min(several), outer)


def _device(homes: tuple[nn.Module, ...]) -> torch.device:
    """Where the rows are looked up, so that no forward copies from the host."""
    buffers = (buffer for home in homes for name, buffer in home.named_buffers() if name.endswith("row_lengths"))
    return next((buffer.device for buffer in buffers), torch.device("cpu"))
