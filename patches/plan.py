"""What a patch will do to a model, worked out and proved before anything is touched."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn
from transformers import PreTrainedConfig

from rope_scaling.native import native_candidates
from rope_scaling.patches.bases import Bases
from rope_scaling.patches.discover import RotarySite
from rope_scaling.patches.layer_types import asked_layer_types
from rope_scaling.patches.request import LayerRequest, Request, settle
from rope_scaling.patches.side_state import SideChange, check_side_changes, copied_configs, follows, side_changes
from rope_scaling.patches.trial import what_is_wrong
from rope_scaling.patches.twin import make_twin
from rope_scaling.record import PatchRecord
from rope_scaling.schemes import scheme_options

_OWN_LENGTH = "original_max_position_embeddings"


@dataclass(frozen=True)
class ConfigPlan:
    """What becomes of one config object.

    Attributes:
        live: The object that the model reads.
        patched: A copy of it as it will be, without the record.
        record: What will be recorded in it.
        changes_nothing: Whether the trained frequencies stay as they are.
        static: Whether the frequencies are the same for every length.
        softmax_ratio: By how much an architecture with a temperature in its softmax scale multiplies that scale.
    """

    live: PreTrainedConfig
    patched: PreTrainedConfig
    record: PatchRecord
    changes_nothing: bool
    static: bool
    softmax_ratio: float


@dataclass(frozen=True)
class ModelPlan:
    """What becomes of a model.

    Attributes:
        configs: Its config objects.
        of_site: For each rotary module's path: the plan of the config that it follows, and what it will read.
        side: What changes outside the rotary modules.
    """

    configs: list[ConfigPlan]
    of_site: dict[str, tuple[ConfigPlan, PreTrainedConfig]]
    side: list[SideChange]


def plan_model(model: nn.Module, sites: list[RotarySite], bases: Bases, request: Request) -> ModelPlan:
    """Find configs from which every rotary module makes the frequencies of the scheme, and all else that they change.

    Raises:
        ValueError: The request does not fit this checkpoint, or no parameters say it to this architecture.
    """
    plans = [_plan_config(model, sites, bases, live, base, request) for live, base in bases.configs]
    by_config = {id(plan.live): plan for plan in plans}
    after = make_twin(model, [(plan.live, plan.patched) for plan in plans])
    of_site = {}
    for site in sites:
        plan = plans[0] if site.name in bases.copied else by_config[id(site.config)]
        of_site[site.name] = (plan, after[site.name].config if site.name in bases.copied else plan.patched)
    side = side_changes(bases.twin, after, {site.name for site in sites})
    rules = [follows(base, p.patched, p.softmax_ratio) for (_, base), p in zip(bases.configs, plans, strict=True)]
    check_side_changes(side, lambda change: any(rule(change) for rule in rules))
    return ModelPlan(plans, of_site, side + copied_configs(bases.twin, after, bases.copied))  # type: ignore[arg-type]


def changed_keys(config: PreTrainedConfig) -> list[str]:
    """The keys of a config that a patch sets."""
    keys = ["rope_parameters", "max_position_embeddings", _OWN_LENGTH]
    return [key for key in keys if getattr(config, key, None) is not None]


def _plan_config(
    model: nn.Module,
    sites: list[RotarySite],
    bases: Bases,
    live: PreTrainedConfig,
    base: PreTrainedConfig,
    request: Request,
) -> ConfigPlan:
    own = [site for site in sites if site.config is live]
    asked = [settle(base, layer_type, request) for layer_type in asked_layer_types(base, own, request)]
    patched = copy.deepcopy(base)
    reached = math.floor(asked[0].factor * asked[0].rope.original_max_position_embeddings + 1e-6)
    if "max_position_embeddings" in changed_keys(base):
        patched.max_position_embeddings = reached
    if _OWN_LENGTH in changed_keys(base):  # phi3's own key overrides the dict's
        patched.original_max_position_embeddings = asked[0].rope.original_max_position_embeddings
    copies = {
        s.name: (type(s.module), settle(bases.of_site[s.name], None, request)) for s in sites if s.name in bases.copied
    }

    def wrong(trial: PreTrainedConfig, layer: LayerRequest) -> str | None:
        saved = type(trial).from_dict(trial.to_dict())
        read = [what_is_wrong(cls, saved, layer) for cls in {type(site.module) for site in own}]
        if copies and not any(read):
            twin = make_twin(model, [(live, saved)])
            read = [what_is_wrong(cls, twin[path].config, of_copy) for path, (cls, of_copy) in copies.items()]  # type: ignore[arg-type]
        return next(filter(None, read), None)

    for layer in asked:
        _say(patched, layer, wrong)
    saved = type(patched).from_dict(patched.to_dict())
    if _OWN_LENGTH not in changed_keys(base) and _OWN_LENGTH in changed_keys(saved):  # phimoe's check sets it
        patched.original_max_position_embeddings = saved.original_max_position_embeddings
    return ConfigPlan(
        live,
        patched,
        _record(base, patched, asked, request, reached),
        all(layer.changes_nothing for layer in asked),
        not any(layer.keeps_parameters for layer in asked),
        asked[0].softmax_ratio,
    )


def _say(
    config: PreTrainedConfig, layer: LayerRequest, wrong: Callable[[PreTrainedConfig, LayerRequest], str | None]
) -> None:
    """Set the first parameters for one layer type that all rotary modules read as the scheme means them."""
    reasons = []
    if layer.keeps_parameters:
        return
    for parameters in native_candidates(layer.scheme, layer.rope, layer.factor, layer.before, layer.temperature):
        trial = copy.deepcopy(config)
        _set_parameters(trial, layer.layer_type, parameters)
        try:
            reason = wrong(trial, layer)
        except Exception as error:  # whatever Transformers raises, the answer is: not these parameters
            reason = f"{type(error).__name__}: {error}"
        if reason is None:
            _set_parameters(config, layer.layer_type, parameters)
            return
        reasons.append(f"{parameters['rope_type']}: {' '.join(reason.split())}")
    raise ValueError(
        f"{config.model_type} cannot be told scheme {layer.scheme.name!r} through its config, so a saved checkpoint "
        f"would differ from the patched model ({'; '.join(dict.fromkeys(reasons))}); nothing was changed"
    )


def _set_parameters(config: PreTrainedConfig, layer_type: str | None, parameters: dict[str, Any]) -> None:
    own = copy.deepcopy(parameters)
    if layer_type is not None:
        own = copy.deepcopy(config.rope_parameters) | {layer_type: own}
    config.rope_parameters = own


def _record(
    base: PreTrainedConfig, patched: PreTrainedConfig, asked: list[LayerRequest], request: Request, reached: int
) -> PatchRecord:
    first = asked[0]
    return PatchRecord(
        scheme=first.scheme.name,
        options=scheme_options(first.scheme),
        original_max_position_embeddings=first.rope.original_max_position_embeddings,
        max_position_embeddings=reached,
        before={key: copy.deepcopy(getattr(base, key, None)) for key in changed_keys(patched)},
        on_scaled=request.on_scaled if first.before["rope_type"] != "default" else None,
        layer_types=[layer.layer_type for layer in asked if layer.layer_type is not None],
    )
