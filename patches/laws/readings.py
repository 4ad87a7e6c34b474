"""Other thetas, pair layouts and heads for the same weights, for faults that only predictions betray."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig

from rope_scaling.config import layer_types_of, read_plain_rope, read_rope_parameters
from rope_scaling.patches.discover import find_rotary
from rope_scaling.patches.laws.law import LawResult, undecided
from rope_scaling.patches.laws.likelihood import Readings, contest
from rope_scaling.patches.laws.rebuilt import rebuilt
from rope_scaling.patches.laws.watch import hooked
from rope_scaling.patches.state import native_state, read_state, write_state

THETAS = (1e4, 1e5, 5e5, 1e6, 1e7)
"""Those of most checkpoints: Llama 2 and NeoX, SmolLM2, Llama 3, Qwen2, and long contexts."""


def theta_law(model: nn.Module, input_ids: Tensor, layer_type: str | None, thetas: tuple[float, ...]) -> LawResult:
    """No other theta reads a text better than the configured one."""
    name = "theta" if layer_type is None else f"theta of {layer_type}"
    config = find_rotary(model)[0].config
    own, rope_type = read_plain_rope(config, layer_type).theta, read_rope_parameters(config, layer_type)["rope_type"]
    readings: Readings = {
        f"theta {theta:g}": lambda theta=theta: _rotating(model, layer_type, rope_theta=theta)  # type: ignore[misc]
        for theta in thetas
        if not math.isclose(theta, own)
    }
    if rope_type == "default":
        return contest(name, model, input_ids, f"theta {own:g}", readings)
    plain: Readings = {"plain frequencies": lambda: _rotating(model, layer_type, rope_type="default")}
    return contest(name, model, input_ids, f"rope_type {rope_type!r}, theta {own:g}", {**plain, **readings})


def layout_law(model: nn.Module, input_ids: Tensor) -> LawResult:
    """No other order of the dimensions that q_proj and k_proj give reads a text better."""
    projections = [m for name, m in model.named_modules() if name.rpartition(".")[2] in ("q_proj", "k_proj")]
    rope = read_plain_rope(find_rotary(model)[0].config, _first_layer_type(model))
    widths = [getattr(module, "out_features", 1) for module in projections]
    if not widths or any(width % rope.head_dim for width in widths):
        return undecided("layout", "cannot be told: only models with separate q_proj and k_proj are understood")
    half = torch.arange(rope.rotary_dim).view(-1, 2).T.reshape(-1)  # 0, 2, 4, ..., 1, 3, 5, ...
    rest = torch.arange(rope.rotary_dim, rope.head_dim)
    orders = {"interleaved to half-split": half, "half-split to interleaved": half.argsort()}
    readings: Readings = {
        f"q_proj and k_proj reordered from {name}": lambda order=order: _reordered(  # type: ignore[misc]
            model, projections, torch.cat([order, rest])
        )
        for name, order in orders.items()
    }
    return contest("layout", model, input_ids, "q_proj and k_proj as they are", readings)


def heads_law(model: nn.Module, input_ids: Tensor) -> LawResult:
    """No other split of the same weights into heads reads a text better."""
    config = find_rotary(model)[0].config
    heads = config.num_attention_heads
    shared = getattr(config, "num_key_value_heads", None) or heads
    dim = read_plain_rope(config, _first_layer_type(model)).head_dim
    splits = [(2 * heads, 2 * shared, dim // 2)]
    if heads % 2 == shared % 2 == 0:
        splits.append((heads // 2, shared // 2, 2 * dim))
    readings: Readings = {
        f"{h} heads of {width} dimensions": lambda h=h, k=k, width=width: rebuilt(  # type: ignore[misc]
            model, num_attention_heads=h, num_key_value_heads=k, head_dim=width
        )
        for h, k, width in splits
    }
    try:
        return contest("heads", model, input_ids, f"{heads} heads of {dim} dimensions", readings)
    except (ValueError, TypeError, RuntimeError, AttributeError) as error:
        told = str(error).splitlines()[0]
        return undecided("heads", f"cannot be told: the weights do not fit a model with other heads ({told})")


@contextmanager
def _rotating(model: nn.Module, layer_type: str | None, **changes: object) -> Iterator[nn.Module]:
    """Rotate by the frequencies that the config would give with `changes` in its rope_parameters."""
    sites = find_rotary(model)
    states = [native_state(type(site.module), _changed(site.config, layer_type, changes)) for site in sites]
    before = [read_state(site.module, set(state.attributes)) for site, state in zip(sites, states, strict=True)]
    try:
        for site, state in zip(sites, states, strict=True):
            write_state(site.module, state, type(site.module))
        yield model
    finally:
        for site, state in zip(sites, before, strict=True):
            write_state(site.module, state, type(site.module))


def _changed(config: PreTrainedConfig, layer_type: str | None, changes: dict[str, object]) -> PreTrainedConfig:
    changed = copy.deepcopy(config)
    own = changed.rope_parameters if layer_type is None else changed.rope_parameters[layer_type]
    own.update(changes)
    return changed


@contextmanager
def _reordered(model: nn.Module, projections: list[nn.Module], order: Tensor) -> Iterator[nn.Module]:
    """Give the dimensions of every query and key head in another order; no weight is touched."""

    def change(output: Tensor) -> Tensor:
        heads = output.view(*output.shape[:-1], -1, len(order))  # (rows, tokens, heads, head_dim)
        return heads[..., order.to(output.device)].flatten(-2)

    with hooked(projections, change):
        yield model


def _first_layer_type(model: nn.Module) -> str | None:
    return next(iter(layer_types_of(find_rotary(model)[0].config)), None)
