"""The 2-D RoPE of an image tower, patched when a tower itself is asked for: its config knows nothing but a theta.

An axis of a position counts patches, so L is the side of the grid that was trained, in patches. Whatever order a tower
keeps its frequencies in, and whatever share of them an axis has, sorted they are the series of one theta.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, replace

import torch
from torch import nn
from transformers import PreTrainedConfig

from rope_scaling.fields import positive
from rope_scaling.patches.bases import unpatched_config
from rope_scaling.patches.checks import check_frequencies, warn_of_rounded
from rope_scaling.patches.discover import RotarySite, is_axial
from rope_scaling.patches.request import Request
from rope_scaling.patches.rotary import STATIC, patched_class
from rope_scaling.patches.state import (
    ORIGINAL,
    RotaryState,
    fresh_module,
    native_state,
    read_state,
    with_numbers,
    write_state,
)
from rope_scaling.patches.twin import owned_configs
from rope_scaling.record import PatchRecord, read_record
from rope_scaling.rope import Rope, plain_inv_freq
from rope_scaling.schemes import NoScaling, Scheme, scheme_options
from rope_scaling.schemes.factor import DEFAULT_FACTOR, resolve_factor

_READ = 1e-5
_TOLD = 1e-6
"""Relative, as for text: what is read, and what a module made from the patched config must hold."""


@dataclass(frozen=True)
class AxialPlan:
    """What becomes of one config, and with it of every tower module that reads it."""

    live: PreTrainedConfig
    patched: PreTrainedConfig
    record: PatchRecord


def patch_axial(model: nn.Module, sites: list[RotarySite], request: Request) -> None:
    """Patch the rotary modules of a tower, in place.

    Raises:
        ValueError: The scheme cannot be told to a tower, L is not known, or the tower is not understood.
    """
    owned = owned_configs(model.modules())
    for site in sites:
        if not is_axial(site.module) or id(site.config) not in owned:
            raise ValueError(
                f"{site.name} ({type(site.module).__name__}) is not of one kind with the tower's other rotary modules, "
                "or reads a config that is not saved with it: such a tower is not understood"
            )
        check_frequencies(site)
    if request.on_scaled is not None or request.layer_types is not None:
        raise ValueError("on_scaled and layer_types are for text: the RoPE of an image tower is never scaled nor typed")
    plans = {id(site.config): _plan(site, request) for site in sites}
    states = [native_state(type(site.module), plans[id(site.config)].patched) for site in sites]
    originals = [_original(site) for site in sites]
    warn_of_rounded(sites)
    for site, state, original in zip(sites, states, originals, strict=True):
        write_state(site.module, state, patched_class(type(site.module), STATIC))
        vars(site.module)[ORIGINAL] = original
    for plan in plans.values():
        for key in plan.record.before:
            setattr(plan.live, key, copy.deepcopy(getattr(plan.patched, key)))
        plan.record.write(plan.live)


def read_axial(site: RotarySite, length: int | None = None) -> tuple[Rope, list[int]]:
    """The RoPE that a tower was trained with, and where in its buffer each of the sorted frequencies stands.

    Raises:
        ValueError: L is neither given nor in the config, or the frequencies are no series of one theta.
    """
    config = unpatched_config(site.config)
    record = read_record(site.config)
    length = length or (record.original_max_position_embeddings if record is not None else None) or grid_side(config)
    if length is None:
        raise ValueError(
            f"{type(config).__name__} does not say for how large images the tower was trained: give "
            "original_max_length, the side of that grid in patches"
        )
    made = fresh_module(type(site.module), config).get_buffer("inv_freq").double()  # (pairs of all axes or of one,)
    order = made.argsort(descending=True, stable=True)
    theta, rotary_dim = positive("rope_theta", _theta(config)), 2 * made.numel()
    series = torch.tensor(plain_inv_freq(theta, rotary_dim), dtype=torch.float64)
    if not torch.allclose(made[order], series, rtol=_READ, atol=0):
        raise ValueError(
            f"{site.name} ({type(site.module).__name__}) does not hold the frequencies of its rope_theta {theta:g}: "
            "such a tower is not understood"
        )
    return Rope.plain(theta, rotary_dim, length), order.tolist()


def grid_side(config: PreTrainedConfig) -> int | None:
    """The longer side of the grid of patches that a tower was trained with; None where its config does not tell."""
    image, patch = (_longer(getattr(config, name, None)) for name in ("image_size", "patch_size"))
    return image // patch or None if image is not None and patch is not None else None


def _longer(size: int | list[int] | tuple[int, ...] | None) -> int | None:
    return max(size) if isinstance(size, (list, tuple)) else size


def _plan(site: RotarySite, request: Request) -> AxialPlan:
    base = unpatched_config(site.config)
    rope, order = read_axial(site, request.original_max_length)
    default = 1.0 if isinstance(request.scheme, NoScaling) else DEFAULT_FACTOR
    factor = resolve_factor(rope, request.scheme.factor, request.factor, request.max_length, default)
    scheme: Scheme = replace(request.scheme, factor=factor)  # type: ignore[type-var]
    said = scheme.rope_parameters(rope)
    if said is None or said["rope_type"] != "default":
        raise ValueError(
            f"{type(site.module).__name__} reads nothing but rope_theta, so {type(base).__name__} cannot say scheme "
            f"{scheme.name!r}: an image tower takes 'ntk', 'abf' or 'none'; nothing was changed"
        )
    patched, key = copy.deepcopy(base), _key(base)
    theta = said["rope_theta"]
    setattr(patched, key, theta if key == "rope_theta" else {**getattr(base, key), "rope_theta": theta})
    _check_told(site, patched, [scheme(rope).inv_freq[order.index(i)] for i in range(len(order))])
    record = PatchRecord(
        scheme=scheme.name,
        options=scheme_options(scheme),
        original_max_position_embeddings=rope.original_max_position_embeddings,
        max_position_embeddings=math.floor(factor * rope.original_max_position_embeddings + 1e-6),
        before={key: copy.deepcopy(getattr(base, key))},
    )
    return AxialPlan(site.config, patched, record)


def _check_told(site: RotarySite, patched: PreTrainedConfig, inv_freq: list[float]) -> None:
    """ValueError unless a module that Transformers makes from the saved config holds these frequencies."""
    saved = type(patched).from_dict(patched.to_dict())
    made = fresh_module(type(site.module), saved).get_buffer("inv_freq").double()
    if not torch.allclose(made, torch.tensor(inv_freq, dtype=torch.float64), rtol=_TOLD, atol=0):
        raise ValueError(
            f"{type(site.module).__name__} does not make the scheme's frequencies from another rope_theta; "
            "nothing was changed"
        )


def _original(site: RotarySite) -> RotaryState:
    held: RotaryState | None = vars(site.module).get(ORIGINAL)
    if held is not None:
        return held
    native = native_state(type(site.module), unpatched_config(site.config))
    if read_record(site.config) is not None:
        return native
    return with_numbers(read_state(site.module, set(native.attributes)), site.config)


def _key(config: PreTrainedConfig) -> str:
    return "rope_theta" if getattr(config, "rope_parameters", None) is None else "rope_parameters"


def _theta(config: PreTrainedConfig) -> object:
    held = getattr(config, _key(config))
    return held.get("rope_theta") if isinstance(held, dict) else held
