"""How each layer's cached keys are rotated, found out by reading one token at two sets of frequencies.

A single token attends to itself alone, so what a layer hands on does not depend on its rotation: two forwards that
differ in the frequencies of one rotary module differ in nothing but the keys that it has rotated. No architecture is
known here by name; one whose keys do not turn as expected can be planned, and not grown.
"""

from __future__ import annotations

import contextlib
import inspect
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from rope_scaling.patches.dynamic.axes import pair_axes
from rope_scaling.patches.dynamic.grid import FREQUENCIES
from rope_scaling.patches.dynamic.running import Probe, running

LAYOUT = "_rope_scaling_layout"
"""Attribute of a home: a `Layout`."""
UNASKED = "the model was on the meta device when it was patched, so how its keys lie in a cache is not known"
_POSITION = 3
_EXACT = {torch.float64: 1e-6, torch.float32: 1e-4}
_ROUNDED = 2.0**-5
_PLAIN_LAYERS = (
    *("DynamicLayer", "DynamicSlidingWindowLayer", "StaticLayer", "StaticSlidingWindowLayer"),
    *("DynamicIndexedLayer", "StaticIndexedLayer", "LinearAttentionLayer", "DummyLayer"),
    *("LinearAttentionAndFullAttentionLayer", "LinearAttentionAndSlidingWindowAttentionLayer"),
    *("LinearAttentionAndStaticFullAttentionLayer", "LinearAttentionAndStaticSlidingWindowAttentionLayer"),
)
"""Cache layers of Transformers that hold rotated keys as they are, or none."""


@dataclass(frozen=True)
class KeyPairs:
    """Which dimensions of a tensor in a cache layer one rotary module turns.

    Attributes:
        layer: Number of the cache layer.
        name: Its attribute, `keys` mostly: (rows, heads, slots, dims), or without heads.
        start: The first dimension that turns.
        interleaved: Whether neighbours are a pair, or else dimensions half the rotary_dim apart.
        sense: 1 where a pair turns by its angle, -1 where it turns the other way.
    """

    layer: int
    name: str
    start: int
    interleaved: bool
    sense: int = 1


@dataclass(frozen=True)
class Turned:
    """All that one rotary module turns, for one layer type.

    Attributes:
        module: The rotary module.
        prefix: Of its buffers.
        keys: What it turns.
        scaled: Whether its attention factor is in the keys; a norm after the rotation takes it out.
        axes: For positions on three axes, which of them each pair turns by; None where that is not known.
    """

    module: nn.Module
    prefix: str
    keys: list[KeyPairs]
    scaled: bool
    axes: list[int] | None


@dataclass
class Layout:
    """The cached keys of a home, by what turns them.

    Attributes:
        turned: One entry for each rotary module and layer type.
        unknown: Why the keys are not understood; None where they are.
    """

    turned: list[Turned] = field(default_factory=list)
    unknown: str | None = None


class NoCacheError(Exception):
    """A model that was asked for a cache has given none."""


def can_grow(home: nn.Module, cache: Any, axes: int = 1) -> str | None:
    """Why the keys in a cache, at positions on so many axes, cannot be rotated anew; None where they can."""
    layout: Layout | None = vars(home).get(LAYOUT)
    if layout is None:
        return UNASKED
    if layout.unknown is not None:
        return layout.unknown
    if getattr(cache, "offloading", False):
        return "it is offloaded, layer by layer"
    if axes > 1 and not all(one.axes and max(one.axes) < axes for one in layout.turned):
        return f"its tokens have positions on {axes} axes"
    strange = sorted({type(one).__name__ for one in cache.layers} - {*_PLAIN_LAYERS})
    return f"{', '.join(strange)} holds keys in a form of its own" if strange else None


def find_layout(home: nn.Module) -> Layout:
    """Read one token at different frequencies and compare what is cached."""
    if not {"past_key_values", "use_cache"} & {*inspect.signature(type(home).forward).parameters}:
        return Layout(unknown=f"{type(home).__name__} takes no cache")
    groups = [
        (module, name.removesuffix(FREQUENCIES))
        for module in home.modules()
        for name in module._buffers
        if name.endswith(FREQUENCIES)
    ]
    try:
        with _quietly(home):
            turned = [_turned(home, groups, n) for n in range(len(groups))]
    except NoCacheError:
        raise
    except Exception as error:  # whatever a model needs besides a token, the answer is: not known
        return Layout(unknown=f"{type(home).__name__} could not be asked ({type(error).__name__}: {error})")
    if not any(one.keys for one in turned):
        return Layout(unknown=f"no key in a cache of {type(home).__name__} turned with its frequencies")
    return Layout(turned)


def _turned(home: nn.Module, groups: list[tuple[nn.Module, str]], n: int) -> Turned:
    """What the n-th group turns."""
    module, prefix = groups[n]
    tables = [one.get_buffer(name + FREQUENCIES) for one, name in groups]
    pairs = zip(groups, tables, strict=True)
    own = [Probe(*group, _frequencies(table, 0), table.new_ones(())) for group, table in pairs]
    other = replace(own[n], inv_freq=_frequencies(tables[n], 1))
    larger = replace(own[n], factor=2 * own[n].factor)
    before, after, scaled = (_read_token(home, [*own[:n], one, *own[n + 1 :]]) for one in (own[n], other, larger))
    angles = ((other.inv_freq - own[n].inv_freq) * _POSITION).double()  # (pairs,)
    keys = [
        _pairs(layer, name, tensor, after[layer][name], angles)
        for layer, tensors in enumerate(before)
        for name, tensor in tensors.items()
        if not _same(tensor, after[layer][name])
    ]
    grown = bool(keys) and not _same(before[keys[0].layer][keys[0].name], scaled[keys[0].layer][keys[0].name])
    return Turned(module, prefix, keys, grown, pair_axes(module, prefix))


def _read_token(home: nn.Module, probes: list[Probe]) -> list[dict[str, Tensor]]:
    """What each layer of a cache holds after one token."""
    weights: Any = home.get_input_embeddings()  # type: ignore[operator]
    some = weights.weight.shape[0] // 2  # not the padding, which may be embedded as nothing
    token = torch.full((1, 1), some, dtype=torch.int64, device=_device(home, weights.weight))
    where = torch.full_like(token, _POSITION)
    running.probes = tuple(probes)
    try:
        made = home(input_ids=token, position_ids=where, use_cache=True)
    finally:
        running.probes = ()
    cache = getattr(made, "past_key_values", None)
    if cache is None:
        raise NoCacheError
    tensors = [{k: v for k, v in vars(one).items() if isinstance(v, Tensor)} for one in cache.layers]
    return [{k: v for k, v in one.items() if v.is_floating_point()} for one in tensors]


def _device(home: nn.Module, weight: Tensor) -> torch.device | str | int:
    """Where a token is read: of a model that accelerate fetches piece by piece, where its first hook computes."""
    if not weight.is_meta:
        return weight.device
    hooks = (vars(module).get("_hf_hook") for module in home.modules())
    hooks = (each for hook in hooks for each in getattr(hook, "hooks", (hook,)))  # a hook, or several in a row
    found = (getattr(hook, "execution_device", None) for hook in hooks)
    return next((device for device in found if device is not None), "cpu")


def _pairs(layer: int, name: str, one: Tensor, other: Tensor, angles: Tensor) -> KeyPairs:
    """Where the pairs lie that have turned by `angles`, (pairs,)."""
    dims, width = one.shape[-1], 2 * angles.shape[0]
    for start, interleaved, sense in itertools.product(dict.fromkeys((0, dims - width)), (False, True), (1, -1)):
        if start < 0 or one.dim() not in (3, 4):
            continue
        turned = one.double().clone()
        turn(turned[..., start : start + width], angles.cos(), sense * angles.sin(), interleaved)
        if _same(turned.to(one.dtype), other):
            return KeyPairs(layer, name, start, interleaved, sense)
    raise ValueError(f"the {name} of cache layer {layer} do not turn as pairs")


def turn(vectors: Tensor, cos: Tensor, sin: Tensor, interleaved: bool) -> None:
    """Turn pairs of the last dimension of `vectors`, (..., 2 · pairs), in place by angles of (..., pairs)."""
    pairs = cos.shape[-1]
    halves = (vectors[..., 0::2], vectors[..., 1::2]) if interleaved else (vectors[..., :pairs], vectors[..., pairs:])
    x, y = (half.clone() for half in halves)
    halves[0].copy_(x * cos - y * sin)
    halves[1].copy_(y * cos + x * sin)


def _same(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape:
        return False
    size = one.abs().max().clamp(min=torch.finfo(one.dtype).tiny)
    return bool((one - other).abs().max() <= size * _EXACT.get(one.dtype, _ROUNDED))


def _frequencies(table: Tensor, seed: int) -> Tensor:
    """(pairs,), such that no two pairs turn alike."""
    pairs = table.shape[-1]
    drawn = torch.rand(pairs, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (0.2 + 0.5 * drawn + 0.3 * seed).float().to(table.device)


@contextlib.contextmanager
def _quietly(home: nn.Module) -> Iterator[None]:
    """Without dropout and without gradients."""
    training = [module for module in home.modules() if module.training]
    home.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module in training:
            module.training = True
