"""The attention function of remapped models, registered beside Transformers' own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

from rope_scaling.patches.remap.engine import attend, attend_one_query, keys_for_one_query
from rope_scaling.patches.remap.layer import LAYER, RemappedLayer, own_attention
from rope_scaling.patches.remap.running import running
from rope_scaling.patches.remap.view import PREFIX
from rope_scaling.patches.remap.visible import visible_keys

_SINKS = ("s_aux", "sinks")
"""What architectures call a score for each head that takes part in its softmax and carries no value."""
NOT_TAKEN = ("position_bias", "indices", "block_indices", "cache")
"""What attention functions of Transformers may be given that ours cannot take into account."""


def register(name: str) -> None:
    """Let Transformers find the remapped attention over the attention called `name`, and its masks."""
    if PREFIX + name not in AttentionInterface._global_mapping:
        AttentionInterface.register(PREFIX + name, remapped_attention)
        AttentionMaskInterface.register(PREFIX + name, _own_mask)


def remapped_attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Any = None, **kwargs: Any
) -> Any:
    """What a patched attention module calls: its own attention where no query can be remapped, else ours.

    Args:
        module: The attention module.
        query: (rows, heads, queries, dims), rotated at their own positions.
        key: (rows, key heads, slots, dims), likewise.
        value: (rows, key heads, slots, value dims).
        attention_mask: Whatever the module's own implementation takes.
        **kwargs: Likewise.
    """
    own = own_attention(module)
    if running.recorder is not None:
        running.recorder(module, query, key, kwargs)
    layer: RemappedLayer | None = vars(module).get(LAYER)
    call = running.call
    if layer is None or (call is None and key.shape[2] <= layer.start):
        return own(module, query, key, value, attention_mask, **kwargs)
    if call is None or call.queries is None:
        raise ValueError(
            f"{type(module).__name__} was called outside of its model's forward, so where its tokens stand is not "
            f"known, and there are {key.shape[2]} of them: call the model"
        )
    if call.longest <= layer.start:
        return own(module, query, key, value, attention_mask, **kwargs)
    _refuse(module, query.shape[2], kwargs)
    query = call.sharpened(layer, query)
    if query.shape[2] == 1:
        turn, pairs = call.turn(layer, key.shape[2], key.device), layer.layout.on(key.device)
        if own is sdpa_attention_forward and turn.tokens and _by_ourselves(query, key, value, attention_mask, kwargs):
            scaling = kwargs.get("scaling")
            return attend_one_query(query, key, value, turn, pairs, scaling=scaling, mask=attention_mask), None
        return own(module, query, keys_for_one_query(key, turn, pairs), value, attention_mask, **kwargs)
    return _attend(module, query, key, value, attention_mask, layer, kwargs), None


def _by_ourselves(query: Tensor, key: Tensor, value: Tensor, mask: Any, kwargs: dict[str, Any]) -> bool:
    """Whether one query's attention is quicker without SDPA, and comes to the same."""
    if query.device.type != "cpu" or torch.compiler.is_compiling() or torch.is_autocast_enabled("cpu"):
        return False
    if torch.is_grad_enabled() and (query.requires_grad or key.requires_grad or value.requires_grad):
        return False
    asked = any(kwargs.get(name) for name in ("dropout", "softcap", "output_attentions"))
    return not asked and (mask is None or mask.dim() == 4)


def _attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Any,
    layer: RemappedLayer,
    kwargs: dict[str, Any],
) -> Tensor:
    call = running.call
    assert call is not None
    queries = query.shape[2]
    if call.static and (mask is None or len(mask.shape) == 2):
        key, value = _begun(module, key, queries), _begun(module, value, queries)
    by_mask = mask is not None and len(mask.shape) == 4
    window = None if by_mask else kwargs.get("sliding_window")
    visible = visible_keys(call, mask, queries, key.shape[2], window, key.device)
    sinks = next((kwargs[name] for name in _SINKS if kwargs.get(name) is not None), None)
    return attend(
        query,
        key,
        value,
        layer.bands,
        layer.layout.on(key.device),
        scaling=kwargs.get("scaling"),
        visible=visible,
        softcap=kwargs.get("softcap"),
        sinks=sinks,
    )


def _begun(module: nn.Module, slots: Tensor, tokens: int) -> Tensor:
    """The filled slots of a static cache, (rows, heads, slots, dims), where sdpa gives no mask: a text has just begun.

    Raises:
        ValueError: Flash attention gives none of a text that goes on either.
    """
    if "flash" in str(getattr(module.config, "_attn_implementation", "")):
        raise ValueError(
            "flash attention does not say which slots of a static cache are filled, and attention at remapped "
            "positions must know: use a dynamic cache, or set_attn_implementation('sdpa')"
        )
    return slots[:, :, :tokens]


def _refuse(module: nn.Module, queries: int, kwargs: dict[str, Any]) -> None:
    if queries > 1 and kwargs.get("dropout"):
        raise ValueError(
            f"attention at remapped positions has no dropout, and {type(module).__name__} asks for "
            f"{kwargs['dropout']}: set attention_dropout to 0, or train within the trained length"
        )
    given = [name for name in NOT_TAKEN if kwargs.get(name) is not None]
    if given:
        raise ValueError(
            f"attention at remapped positions does not take {', '.join(given)} (continuous batching gives a cache of "
            "its own): use generate(), or a frequency scheme"
        )


def _own_mask(*args: Any, config: Any = None, **kwargs: Any) -> Any:
    """The mask of the implementation that a remapped module falls back on, where a module makes its own mask."""
    name = "sdpa" if config is None else config._attn_implementation.removeprefix(PREFIX)
    return ALL_MASK_ATTENTION_FUNCTIONS[name](*args, config=config, **kwargs)
