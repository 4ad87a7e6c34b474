"""Which attention modules see rotated keys, and how they are rotated: found out by reading one token at two positions.

A single token attends to itself alone, so what a layer hands on does not depend on its position: queries and keys of
two such forwards differ by nothing but their rotation. No architecture is known here by name.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rope_scaling.patches.discover import RotarySite, frequency_buffers
from rope_scaling.patches.dynamic.layout import turn
from rope_scaling.patches.remap.ask import ElsewhereError, at_positions, quietly, read_tokens, viewed
from rope_scaling.patches.remap.layer import PairsLayout
from rope_scaling.patches.remap.running import running

HERE, THERE = 3, 20
"""Positions of the token."""
_EXACT = {torch.float64: 1e-6, torch.float32: 1e-4}
_ROUNDED = 2.0**-5


@dataclass(frozen=True)
class Seen:
    """One call of an attention function.

    Attributes:
        query: (rows, heads, queries, dims).
        key: (rows, key heads, slots, dims).
        others: What else it was given.
    """

    query: Tensor
    key: Tensor
    others: dict[str, Any]


@dataclass(frozen=True)
class Found:
    """What was found out about one attention module.

    Attributes:
        layout: How its queries and keys are rotated.
        window: Tokens that a query sees at most; None where there is no bound.
        causal: Whether no query sees what follows it; an encoder's do.
        others: What its attention function is given besides queries, keys and values.
    """

    layout: PairsLayout
    window: int | None
    causal: bool
    others: dict[str, Any]


def find_attention(home: nn.Module, sites: list[RotarySite]) -> dict[str, Found]:
    """Every attention module of a home whose keys turn with the position, by its path in the home.

    Raises:
        ElsewhereError: There is one whose keys turn in a way of their own, or outside of the attention function.
    """
    with quietly(home), viewed(home):
        (before, cached), (after, cached_after) = (_read_token(home, sites, where) for where in (HERE, THERE))
    names = {module: name for name, module in home.named_modules()}
    found: dict[str, Found] = {}
    keys = []
    for (module, one), (_, other) in zip(before, after, strict=True):
        if not _same(one.key, other.key):
            layout = _layout(names[module], one, other, sites)
            found[names[module]] = Found(layout, _window(module, one), _is_causal(module, one), one.others)
            width = 2 * layout.inv_freq.shape[0]
            keys.append(one.key[..., layout.start : layout.start + width])
    _check_cache(home, cached, cached_after, keys)
    return found


def _read_token(
    home: nn.Module, sites: list[RotarySite], where: int
) -> tuple[list[tuple[nn.Module, Seen]], list[dict[str, Tensor]]]:
    """What attention modules are given for one token, and what each layer of a cache holds after it."""
    seen: list[tuple[nn.Module, Seen]] = []

    def record(module: nn.Module, query: Tensor, key: Tensor, others: dict[str, Any]) -> None:
        seen.append((module, Seen(query, key, others)))

    running.recorder = record
    try:
        with at_positions(sites, [where]):
            made = read_tokens(home, 1, use_cache=True)
    finally:
        running.recorder = None
    cache = getattr(made, "past_key_values", None)
    if cache is None and "use_cache" in inspect.signature(type(home).forward).parameters:
        raise ElsewhereError(
            f"{type(home).__name__} keeps its keys where no cache shows them: where those tokens stand cannot be "
            "known; use a frequency scheme"
        )
    layers = getattr(cache, "layers", [])
    tensors = [{k: v for k, v in vars(one).items() if isinstance(v, Tensor)} for one in layers]
    return seen, [{k: v for k, v in one.items() if v.is_floating_point()} for one in tensors]


def _layout(name: str, one: Seen, other: Seen, sites: list[RotarySite]) -> PairsLayout:
    """Which rotary module has turned queries and keys alike, and where the pairs lie."""
    for site in sites:
        for buffer in frequency_buffers(site.module):
            inv_freq = site.module.get_buffer(buffer)
            angles = (THERE - HERE) * inv_freq.detach().double()  # (pairs,)
            for start, interleaved, sense in _ways(one.key.shape[-1], 2 * angles.shape[0]):
                way = (start, interleaved, sense, angles.to(one.key.device))
                if _turned(one.key, other.key, *way) and _turned(one.query, other.query, *way):
                    return PairsLayout(site.module, buffer, start, interleaved, sense)
    raise ElsewhereError(
        f"{name}: its queries and keys do not turn with the position as pairs of dimensions, by the frequencies of a "
        "rotary module, so they cannot be turned further; a frequency scheme may work"
    )


def _ways(dims: int, width: int) -> Iterator[tuple[int, bool, int]]:
    starts = dict.fromkeys((0, dims - width)) if width <= dims else ()
    yield from itertools.product(starts, (False, True), (1, -1))


def _turned(one: Tensor, other: Tensor, start: int, interleaved: bool, sense: int, angles: Tensor) -> bool:
    """Whether pairs have turned by `angles`, (pairs,), and nothing else has changed but by one factor."""
    turned = one.double().clone()
    turn(turned[..., start : start + 2 * angles.shape[0]], angles.cos(), sense * angles.sin(), interleaved)
    factor = other.double().norm() / one.double().norm()  # a temperature by position multiplies queries
    return _same((turned * factor).to(one.dtype), other)


def _same(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape:
        return False
    size = one.abs().max().clamp(min=torch.finfo(one.dtype).tiny)
    return bool((one - other).abs().max() <= size * _EXACT.get(one.dtype, _ROUNDED))


def _window(module: nn.Module, seen: Seen) -> int | None:
    """The sliding window or the chunk of an attention module."""
    own = [seen.others.get("sliding_window"), vars(module).get("sliding_window")]
    config: Any = module.config
    kinds = getattr(config, "layer_types", None)
    kind = vars(module).get("layer_type")
    if kind is None and kinds and isinstance(vars(module).get("layer_idx"), int):
        kind = kinds[vars(module)["layer_idx"]] if vars(module)["layer_idx"] < len(kinds) else None
    if kind is not None and "sliding" in kind:
        own.append(getattr(config, "sliding_window", None))
    if kind is not None and "chunked" in kind:
        own.append(getattr(config, "attention_chunk_size", None))
    return min((one for one in own if isinstance(one, int) and one > 0), default=None)


def _is_causal(module: nn.Module, seen: Seen) -> bool:
    said = seen.others.get("is_causal")
    return bool(getattr(module, "is_causal", True) if said is None else said)


def _check_cache(
    home: nn.Module, before: list[dict[str, Tensor]], after: list[dict[str, Tensor]], seen: list[Tensor]
) -> None:
    """ElsewhereError where a cache holds rotated keys that no attention function was given: an indexer's, say."""
    for number, (one, other) in enumerate(zip(before, after, strict=True)):
        for name, tensor in one.items():
            if not _same(tensor, other[name]) and not any(_holds(tensor, key) for key in seen):
                raise ElsewhereError(
                    f"{type(home).__name__} keeps {name} in cache layer {number} that turn with the position and are "
                    "compared by code of its own, outside of Transformers' attention interface: remapped positions "
                    "would reach one and not the other; use a frequency scheme"
                )


def _holds(cached: Tensor, turned: Tensor) -> bool:
    """Whether the turned dimensions of an attention's keys, (rows, heads, slots, dims), are those in a cache.

    Heads may share a key, and dimensions that do not turn may lie beside it or elsewhere.
    """
    cached = cached if cached.dim() == 4 else cached[:, None]
    for start in {0, cached.shape[-1] - turned.shape[-1]}:
        held = cached[..., max(start, 0) : max(start, 0) + turned.shape[-1]]
        if held.shape[-1] == turned.shape[-1] and all(
            any(torch.equal(one, key) for key in turned.unbind(1)) for one in held.unbind(1)
        ):
            return True
    return False
