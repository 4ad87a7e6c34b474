"""Attention of one tile with the logarithm of its softmax's sum, by the kernels behind PyTorch's SDPA."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.backends.cuda import SDPAParams, can_use_efficient_attention, can_use_flash_attention
from torch.nn.functional import pad

from rope_scaling.patches.remap.engine import by_hand
from rope_scaling.patches.remap.engine.part import Gradients, Part

_aten: Any = torch.ops.aten
_ROWS = 32
"""The memory-efficient kernel's lse is as long as a multiple of it."""
_SHARE_KEYS = {"cpu": torch.__version__ >= "2.9", "flash": True, "efficient": False}  # pytorch/pytorch#157893
"""Kernels that let several heads share a key head; an earlier one for the CPU would read past the keys' end."""


def forward(query: Tensor, key: Tensor, value: Tensor, seen: Tensor | bool, scale: float) -> Part:
    """Queries, (batch, heads, queries, dims), over keys and values, (batch, key heads, keys, dims).

    Args:
        query: Of any float dtype.
        key: Of the same.
        value: Of the same; its dims may differ.
        seen: Whether it is causal, a square; or which pairs count, (queries, keys), bool.
        scale: Multiplies the scores.
    """
    name = kernel_of(query, key, value, seen)
    if name == "by hand":
        return by_hand.forward(query, key, value, seen, scale)
    if not _SHARE_KEYS[name]:
        key, value = _repeated(query, key), _repeated(query, value)
    if name == "efficient":
        made = _aten._scaled_dot_product_efficient_attention(query, key, value, None, True, 0.0, seen, scale=scale)
        return Part(made[0], made[1][..., : query.shape[2]])
    dims, width = value.shape[-1], _width(name, query, value)
    query, key, value = (_widened(one, width) for one in (query, key, value))
    if name == "cpu":
        made = _aten._scaled_dot_product_flash_attention_for_cpu(query, key, value, 0.0, seen, scale=scale)
    else:
        made = _aten._scaled_dot_product_flash_attention(query, key, value, 0.0, seen, scale=scale)
    return Part(made[0][..., :dims], made[1])


def backward(
    grad: Tensor, query: Tensor, key: Tensor, value: Tensor, whole: Part, seen: Tensor | bool, scale: float
) -> Gradients:
    """What a tile adds to the gradients, given that of `whole`, the attention of its queries over *all* their keys.

    The kernels make the probabilities again from scores and lse: with the lse of the whole they are those of the whole,
    so the gradients of the tiles only need to be added up.
    """
    name = kernel_of(query, key, value, seen)
    if name == "by hand":
        return by_hand.backward(grad, query, key, value, whole, seen, scale)
    if _SHARE_KEYS[name]:
        return _backward(name, grad, query, key, value, whole, bool(seen), scale)
    groups = query.shape[1] // key.shape[1]
    key, value = _repeated(query, key), _repeated(query, value)
    found = _backward(name, grad, query, key, value, whole, bool(seen), scale)
    return Gradients(found.query, *(one.reshape(one.shape[0], -1, groups, *one.shape[2:]).sum(2) for one in found[1:]))


def _backward(
    name: str, grad: Tensor, query: Tensor, key: Tensor, value: Tensor, whole: Part, seen: bool, scale: float
) -> Gradients:
    if name == "efficient":
        return _efficient_backward(grad, query, key, value, whole, seen, scale)
    dims, width = (query.shape[-1], value.shape[-1]), _width(name, query, value)
    query, key, value, grad, out = (_widened(one, width) for one in (query, key, value, grad, whole.out))
    grad, out, lse = grad.contiguous(), out.contiguous(), whole.lse.contiguous()
    if name == "cpu":
        found = _aten._scaled_dot_product_flash_attention_for_cpu_backward(
            grad, query, key, value, out, lse, 0.0, seen, scale=scale
        )
    else:  # without dropout nobody reads the state of the random numbers
        state = torch.zeros(2, dtype=torch.uint64, device=query.device)
        lengths = (None, None, query.shape[2], key.shape[2])
        found = _aten._scaled_dot_product_flash_attention_backward(
            grad, query, key, value, out, lse, *lengths, 0.0, seen, state, state[0], scale=scale
        )
    return Gradients(found[0][..., : dims[0]], found[1][..., : dims[0]], found[2][..., : dims[1]])


def kernel_of(query: Tensor, key: Tensor, value: Tensor, seen: Tensor | bool) -> str:
    """Whose kernel takes these: cpu, flash, efficient, or by hand; shapes, dtypes and the machine decide."""
    if isinstance(seen, Tensor):
        return "by hand"
    if query.device.type == "cpu":
        return "cpu"
    if query.device.type == "cuda":
        q, k, v = (_widened(one, _width("flash", query, value)) for one in (query, key, value))
        if can_use_flash_attention(SDPAParams(q, k, v, None, 0.0, seen, True)):
            return "flash"
        k, v = _repeated(query, key), _repeated(query, value)
        if can_use_efficient_attention(SDPAParams(query, k, v, None, 0.0, seen, False)):
            return "efficient"
    return "by hand"


def _efficient_backward(
    grad: Tensor, query: Tensor, key: Tensor, value: Tensor, whole: Part, causal: bool, scale: float
) -> Gradients:
    padded = whole.lse if torch.version.hip else pad(whole.lse, (0, -whole.lse.shape[-1] % _ROWS), value=torch.inf)
    state = torch.zeros((), dtype=torch.int64)  # of random numbers that nobody draws
    found = _aten._scaled_dot_product_efficient_attention_backward(
        grad, query, key, value, None, whole.out, padded, state, state, 0.0,
        [True, True, True, False], causal, scale=scale,
    )  # fmt: skip
    return Gradients(*found[:3])


def _repeated(query: Tensor, key: Tensor) -> Tensor:
    """One key head for each head."""
    groups = query.shape[1] // key.shape[1]
    return key if groups == 1 else key.repeat_interleave(groups, dim=1)


def _width(name: str, query: Tensor, value: Tensor) -> int:
    """Flash kernels take keys and values of one width; on CUDA a multiple of 8."""
    width = max(query.shape[-1], value.shape[-1])
    return width if name == "cpu" else -(-width // 8) * 8


def _widened(vectors: Tensor, width: int) -> Tensor:
    """Zeros added, which change no score and are cut off the values."""
    return vectors if vectors.shape[-1] == width else pad(vectors, (0, width - vectors.shape[-1]))
