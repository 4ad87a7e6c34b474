"""The tiled attention as one operator with a gradient, which a compiler takes as it is: no recompilation by length."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rope_scaling.patches.remap.engine import tiled
from rope_scaling.patches.remap.engine.coded import decode, encode
from rope_scaling.patches.remap.engine.pairs import RotatedPairs
from rope_scaling.patches.remap.engine.part import Part
from rope_scaling.remap import Bands

_GIVEN = (
    "Tensor query, Tensor key, Tensor value, Tensor query_offsets, Tensor key_offsets, Tensor inv_freq, "
    "int[] bands, int start, bool interleaved, int sense, float scale, Tensor? sinks"
)


_TENSORS = 6
"""The tensors that come first."""


def attend_by_tiles(
    query: Tensor, key: Tensor, value: Tensor, bands: Bands, pairs: RotatedPairs, scale: float, sinks: Tensor | None
) -> Tensor:
    """Plain causal attention, a token's index its slot; see `attend`."""
    index = torch.arange(key.shape[2], device=key.device)
    numbers, query_offsets, key_offsets = encode(bands, index[key.shape[2] - query.shape[2] :], index)
    given = (query, key, value, query_offsets, key_offsets, pairs.inv_freq, numbers)
    rest = (pairs.start, pairs.interleaved, pairs.sense, scale, sinks)
    out: Tensor = torch.ops.rope_scaling.remapped_attention(*given, *rest)[0]
    return out


def _inputs(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    query_offsets: Tensor,
    key_offsets: Tensor,
    inv_freq: Tensor,
    bands: list[int],
    start: int,
    interleaved: bool,
    sense: int,
    scale: float,
    sinks: Tensor | None,
) -> tiled.Inputs:
    pairs = RotatedPairs(inv_freq, start, interleaved, sense)
    return tiled.Inputs(query, key, value, decode(tuple(bands)), query_offsets, key_offsets, pairs, scale, sinks)


def _forward(*given: Any) -> tuple[Tensor, Tensor]:
    out, lse = tiled.forward(_inputs(*given))
    return out.transpose(1, 2), lse


def _backward(grad: Tensor, out: Tensor, lse: Tensor, *given: Any) -> tuple[Tensor, ...]:
    inputs, grad, whole = _inputs(*given), grad.transpose(1, 2), Part(out.transpose(1, 2), lse)
    found = tiled.backward(inputs, grad, whole)
    return *found, lse.new_zeros(0) if inputs.sinks is None else tiled.backward_sinks(grad, whole, inputs.sinks)


def _fake_forward(query: Tensor, key: Tensor, value: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    rows, heads, queries, _dims = query.shape
    wide = torch.promote_types(query.dtype, torch.float32)
    return query.new_empty((rows, queries, heads, value.shape[-1])), query.new_empty((rows, heads, queries), dtype=wide)


def _fake_backward(
    grad: Tensor, out: Tensor, lse: Tensor, query: Tensor, key: Tensor, value: Tensor, *rest: Any
) -> tuple[Tensor, ...]:
    by_sinks = lse.new_empty(0) if rest[-1] is None else torch.empty_like(rest[-1])
    return torch.empty_like(query), torch.empty_like(key), torch.empty_like(value), by_sinks


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.mark_non_differentiable(output[1])
    *tensors, sinks = *inputs[:_TENSORS], inputs[-1]
    ctx.save_for_backward(*output, *tensors, sinks)
    ctx.rest = inputs[_TENSORS:-1]


def _gradients(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    *tensors, sinks = ctx.saved_tensors
    *found, by_sinks = torch.ops.rope_scaling.remapped_attention_backward(grad, *tensors, *ctx.rest, sinks)
    return (*found, *(None for _ in range(8)), None if sinks is None else by_sinks)


_library: Any = torch.library.Library("rope_scaling", "FRAGMENT")  # type: ignore[no-untyped-call]
_library.define(f"remapped_attention({_GIVEN}) -> (Tensor, Tensor)")
_library.define(
    f"remapped_attention_backward(Tensor grad, Tensor out, Tensor lse, {_GIVEN}) -> (Tensor, Tensor, Tensor, Tensor)"
)
_library.impl("remapped_attention", _forward, "CompositeExplicitAutograd")
_library.impl("remapped_attention_backward", _backward, "CompositeExplicitAutograd")
torch.library.register_fake("rope_scaling::remapped_attention", _fake_forward, lib=_library)
torch.library.register_fake("rope_scaling::remapped_attention_backward", _fake_backward, lib=_library)
torch.library.register_autograd("rope_scaling::remapped_attention", _gradients, setup_context=_remember, lib=_library)
