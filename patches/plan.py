"""What a patch will do to a model, worked out and proved before anything is touched."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedConfig

from rope_scaling.config import layer_types_of, max_position_embeddings
from rope_scaling.native import native_candidates
from rope_scaling.patches.discover import RotarySite, attention_scaling, frequency_buffers
from rope_scaling.patches.request import LayerRequest, Request, settle
from rope_scaling.patches.state import fresh_module
from rope_scaling.record import PatchRecord, erase_record
from rope_scaling.schemes import scheme_options

_TOLERANCE = 1e-6
"""Relative, between float64 and what Transformers computes in float32 (a few units of 6e-8)."""


@dataclass(frozen=True)
class ConfigPlan:
    """What becomes of one config object.

    Attributes:
        live: The object that the model reads.
        patched: A copy of it as it will be, without the record.
        record: What will be recorded in it.
        changes_nothing: Whether the trained frequencies stay as they are.
        static: Whether the frequencies are the same for every length.
    """

    live: PreTrainedConfig
    patched: PreTrainedConfig
    record: PatchRecord
    changes_nothing: bool
    static: bool


def plan_config(live: PreTrainedConfig, sites: Iterable[RotarySite], request: Request) -> ConfigPlan:
    """Find `rope_parameters` from which every rotary module in `sites` makes the frequencies of the scheme.

    Raises:
        ValueError: The request does not fit this checkpoint, or no parameters say it to this architecture.
    """
    base = unpatched_config(live)
    sites = list(sites)
    asked = [settle(base, layer_type, request) for layer_type in _layer_types(base, sites)]
    patched = copy.deepcopy(base)
    reached = math.floor(asked[0].factor * asked[0].rope.original_max_position_embeddings + 1e-6)
    patched.max_position_embeddings = reached
    if hasattr(base, "original_max_position_embeddings"):  # phi3's own key overrides the dict's
        patched.original_max_position_embeddings = asked[0].rope.original_max_position_embeddings
    classes = {type(site.module) for site in sites}
    for layer in asked:
        _say(patched, layer, classes)
    return ConfigPlan(
        live,
        patched,
        _record(base, asked, request, reached),
        all(layer.changes_nothing for layer in asked),
        not any(layer.keeps_parameters for layer in asked),
    )


def unpatched_config(config: PreTrainedConfig) -> PreTrainedConfig:
    """A copy of `config` as it was before any patch."""
    base = copy.deepcopy(config)
    erase_record(base)
    return base


def changed_keys(config: PreTrainedConfig) -> list[str]:
    """The keys of a config that a patch sets."""
    keys = ["rope_parameters", "max_position_embeddings", "original_max_position_embeddings"]
    return [key for key in keys if hasattr(config, key)]


def _layer_types(config: PreTrainedConfig, sites: list[RotarySite]) -> list[str | None]:
    """The layer types to scale: all but those with a sliding window within the trained length.

    Raises:
        ValueError: There are no others.
    """
    nested = layer_types_of(config)
    if not nested:
        return [None]
    used = {kind for site in sites for kind in frequency_buffers(site.module).values()}
    window = getattr(config, "sliding_window", None)
    local = window is not None and window <= max_position_embeddings(config)
    found: list[str | None] = [name for name in nested if name in used and not (local and "sliding" in name)]
    if not found:
        raise ValueError(
            f"every rotary layer of this model sees a sliding window of {window} tokens, within the trained length: "
            "there is nothing to extend"
        )
    return found


def _say(config: PreTrainedConfig, layer: LayerRequest, classes: set[type[nn.Module]]) -> None:
    """Set the first parameters for one layer type that all rotary classes read as the scheme means them."""
    reasons = []
    if layer.keeps_parameters:
        return
    for parameters in native_candidates(layer.scheme, layer.rope, layer.factor, layer.before):
        trial = copy.deepcopy(config)
        _set_parameters(trial, layer.layer_type, parameters)
        wrong = [_what_is_wrong(cls, trial, layer) for cls in classes]
        if not any(wrong):
            _set_parameters(config, layer.layer_type, parameters)
            return
        reasons.append(f"{parameters['rope_type']}: {next(filter(None, wrong))}")
    told = "; ".join(reasons)
    raise ValueError(
        f"{config.model_type} cannot be told scheme {layer.scheme.name!r} through its config, so a saved checkpoint "
        f"would differ from the patched model ({told}); nothing was changed"
    )


def _set_parameters(config: PreTrainedConfig, layer_type: str | None, parameters: dict[str, Any]) -> None:
    own = copy.deepcopy(parameters)
    if layer_type is not None:
        own = copy.deepcopy(config.rope_parameters) | {layer_type: own}
    config.rope_parameters = own


def _what_is_wrong(cls: type[nn.Module], config: PreTrainedConfig, layer: LayerRequest) -> str | None:
    """Why a module of `cls` made from the saved `config` would not rotate as the scheme says; None where it would."""
    try:
        module = fresh_module(cls, type(config).from_dict(config.to_dict()))
        _run(module, layer.layer_type)
        buffers = {kind: name for name, kind in frequency_buffers(module).items()}
        made = module.get_buffer(buffers[layer.layer_type]).double()  # (rotary_dim / 2,)
        factor = attention_scaling(module, layer.layer_type)
    except Exception as error:  # whatever Transformers raises, the answer is: not these parameters
        return f"{type(error).__name__}: {error}"
    scaled = layer.scheme(layer.rope)
    meant = torch.tensor(scaled.inv_freq, dtype=torch.float64, device="cpu")
    if made.shape != meant.shape:
        return f"it rotates {made.numel()} pairs where the config says {meant.numel()}"
    error_of = ((made - meant).abs() / meant).max().item()
    if error_of > _TOLERANCE or not math.isclose(factor, scaled.attention_factor, rel_tol=_TOLERANCE):
        return f"its frequencies are off by {error_of:.2g}, its attention factor is {factor:.7g}"
    return None


def _run(module: nn.Module, layer_type: str | None) -> None:
    """One forward of a fresh rotary module: some read further keys of the config only then."""
    x = torch.zeros(1, 2, 1, device="cpu")
    positions = torch.arange(2, device="cpu")[None]  # (1, 2)
    module(x, positions) if layer_type is None else module(x, positions, layer_type)


def _record(base: PreTrainedConfig, asked: list[LayerRequest], request: Request, reached: int) -> PatchRecord:
    first = asked[0]
    return PatchRecord(
        scheme=first.scheme.name,
        options=scheme_options(first.scheme),
        original_max_position_embeddings=first.rope.original_max_position_embeddings,
        max_position_embeddings=reached,
        before={key: copy.deepcopy(getattr(base, key)) for key in changed_keys(base)},
        on_scaled=request.on_scaled if first.before["rope_type"] != "default" else None,
        layer_types=[layer.layer_type for layer in asked if layer.layer_type is not None],
    )
