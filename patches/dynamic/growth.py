"""Keys in a cache, rotated anew from the scale that they were cached at to the scale that their row has now."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from rope_scaling.patches.dynamic.grid import AXES, FACTORS, FREQUENCIES
from rope_scaling.patches.dynamic.held import TRAINED, Held
from rope_scaling.patches.dynamic.layout import LAYOUT, KeyPairs, Layout, can_grow
from rope_scaling.patches.dynamic.rerotate import rerotate

_HALVES = (torch.bfloat16, torch.float16)


def grow_keys(home: nn.Module, cache: Any, held: Held, rows: Tensor, new: int) -> None:
    """Rotate the keys of every row whose scale has grown, in place.

    On a CPU nothing more than a comparison is done where none has; a GPU's kernel looks for itself and leaves.
    """
    if _surely_settled(home, cache, held, rows):
        return
    read = cache.get_seq_length()
    certain = rows.device.type == "cpu"  # elsewhere nothing is kept for rows that cannot have grown yet
    keep_rest = certain or isinstance(read, Tensor) or read + new > vars(home)[TRAINED]
    layout: Layout = vars(home)[LAYOUT]
    for turned in layout.turned:
        inv_freq = turned.module.get_buffer(turned.prefix + FREQUENCIES)
        factors = turned.module.get_buffer(turned.prefix + FACTORS)
        factors = factors if turned.scaled else torch.ones_like(factors)
        axes = turned.module._buffers.get(turned.prefix + AXES)
        for of_one_length in _by_slots(cache, turned.keys):
            keys = [_tensor(cache, one) for one in of_one_length]
            if any(tensor.requires_grad for tensor in keys):
                _refuse_gradients(past=keep_rest)
                continue
            positions = held.of_slots(keys[0], cache)
            pairs_of = zip(of_one_length, keys, strict=True)
            residuals = [_residual(held, one, tensor) if keep_rest else None for one, tensor in pairs_of]
            for pairs, tensor, residual in zip(of_one_length, keys, residuals, strict=True):
                where = (axes, pairs.start, pairs.interleaved, pairs.sense)
                rerotate(tensor, residual, positions, held.rows, rows, inv_freq, factors, *where)


def _refuse_gradients(*, past: bool) -> None:
    """ValueError where keys with a gradient may have to turn; within L none has to."""
    if past:
        raise ValueError(
            "cached keys carry a gradient and would have to be rotated anew, which no gradient flows through: plan the "
            "length before the first token, `with rope_length(model, tokens):`"
        )


def _surely_settled(home: nn.Module, cache: Any, held: Held, rows: Tensor) -> bool:
    """Whether no row has outgrown its scale, as far as that is known without asking a device."""
    if not cache.layers or can_grow(home, cache) is not None:
        return True
    if not any(getattr(one, "is_initialized", False) for one in cache.layers):
        return True
    if torch.compiler.is_compiling():
        return False
    if type(rows) is Tensor and rows.device.type == "cpu":  # a kernel's early return; no device is waited for
        return bool(torch.equal(torch.maximum(held.rows, rows.new_zeros(())), rows.clamp(min=0)))
    return False


def _by_slots(cache: Any, turned: list[KeyPairs]) -> list[list[KeyPairs]]:
    """Those whose tensors hold the same tokens together: layers with a sliding window hold fewer."""
    groups: dict[int | None, list[KeyPairs]] = {}
    for one in turned:
        layer: Any = cache.layers[one.layer] if one.layer < len(cache.layers) else None
        if layer is None or getattr(layer, one.name, None) is None:
            continue
        if layer.is_initialized:  # layers that share keys have none
            width = getattr(layer, "sliding_window", None) or getattr(layer, "max_cache_len", None)
            groups.setdefault(width, []).append(one)
    return list(groups.values())


def _tensor(cache: Any, pairs: KeyPairs) -> Tensor:
    """(rows, heads, slots, dims), a view where the cache has no heads."""
    tensor: Tensor = getattr(cache.layers[pairs.layer], pairs.name)
    if not torch.compiler.is_compiling() and tensor.is_inference() and not torch.is_inference_mode_enabled():
        tensor = tensor.clone()  # nothing may write to a tensor of inference mode outside of it
        setattr(cache.layers[pairs.layer], pairs.name, tensor)
    return tensor if tensor.dim() == 4 else tensor[:, None]


def _residual(held: Held, pairs: KeyPairs, keys: Tensor) -> Tensor | None:
    """What rounding has taken from these keys, (rows, heads, slots, dims): kept, so that it never adds up."""
    if keys.dtype not in _HALVES:
        return None
    name = f"{pairs.name} {pairs.layer}"
    own = held.residuals.get(name)
    if own is None and torch.compiler.is_compiling():
        return None
    if own is None or own.shape[-2] < keys.shape[-2]:
        grown = torch.zeros_like(keys)
        if own is not None:
            grown[..., : own.shape[-2], :] = own
        held.residuals[name] = own = grown
    return own[..., : keys.shape[-2], :]
