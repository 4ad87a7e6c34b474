"""Dynamic scaling put on a model, taken off it, and put back as it was."""

from __future__ import annotations

import math

import torch
from torch import nn
from transformers import PreTrainedModel

from rope_scaling.patches.discover import RotarySite
from rope_scaling.patches.dynamic.call import STRIDE
from rope_scaling.patches.dynamic.generation import install_planning, remove_planning
from rope_scaling.patches.dynamic.grid import AXES, GRIDS, STEPS, RowScheme, grid_buffers, is_grid
from rope_scaling.patches.dynamic.held import TRAINED
from rope_scaling.patches.dynamic.hooks import install_hooks, remove_hooks
from rope_scaling.patches.dynamic.layout import LAYOUT, find_layout
from rope_scaling.patches.dynamic.plans import homes_in
from rope_scaling.patches.fresh import make_fresh
from rope_scaling.patches.rotary import unpatched_class
from rope_scaling.patches.says_once import SaysOnce
from rope_scaling.patches.state import buffer_device

Grids = dict[str, RowScheme]

_SAYS = "_rope_scaling_says"
"""Attribute of a home: the handle of the hook that warns."""
_SAVED = (
    "dynamic scaling is saved as a record in the config (rope_scaling_patch) and nothing else: plain Transformers "
    "loads this checkpoint unscaled; patch_model(model) without a scheme applies it again"
)


def put_grids(module: nn.Module, grids: Grids) -> None:
    """Give a rotary module its grids, as buffers that are not saved."""
    drop_grids(module)
    held = {name: b for name, b in module._buffers.items() if b is not None}
    if any(b.is_meta for b in held.values()):
        held = dict(make_fresh(unpatched_class(type(module)), module.config).named_buffers())  # type: ignore[arg-type]
    vars(module)[GRIDS] = grids
    for name, buffer in grid_buffers(grids, held).items():
        module.register_buffer(name, buffer.to(buffer_device(module)), persistent=False)


def drop_grids(module: nn.Module) -> None:
    """Take them away."""
    vars(module).pop(GRIDS, None)
    for name in [name for name in module._buffers if is_grid(name)]:
        del module._buffers[name]
        module._non_persistent_buffers_set.discard(name)


def install(model: nn.Module, sites: list[RotarySite]) -> None:
    """Hooks around every home of modules with grids, planning in `generate()`, a word when the model is saved."""
    homes = list({id(home): home for home in (home_of(model, site) for site in sites)}.values())
    for home in homes:
        grids = [grid for one in home.modules() for grid in vars(one).get(GRIDS, {}).values()]
        vars(home)[STRIDE] = max(1, math.ceil(STEPS * math.log2(grids[0].scheme.growth) - 1e-9))
        vars(home)[TRAINED] = grids[0].rope.original_max_position_embeddings
        install_hooks(home)
        vars(home)[_SAYS] = home.register_state_dict_pre_hook(SaysOnce(_SAVED))  # type: ignore[no-untyped-call]
        offloaded = any(hasattr(module, "_hf_hook") for module in home.modules())  # accelerate fetches its weights
        if offloaded or not any(weight.is_meta for weight in home.parameters()):
            vars(home)[LAYOUT] = layout = find_layout(home)
            for turned in layout.turned:
                if turned.axes is not None:
                    axes = torch.tensor(turned.axes, device=buffer_device(turned.module))
                    turned.module.register_buffer(turned.prefix + AXES, axes, persistent=False)
    install_planning(model)


def uninstall(model: nn.Module) -> None:
    """Take all of it off."""
    remove_planning(model)
    for home in homes_in(model):
        remove_hooks(home)
        vars(home).pop(_SAYS).remove()
        for name in (STRIDE, TRAINED, LAYOUT):
            vars(home).pop(name, None)


def home_of(model: nn.Module, site: RotarySite) -> nn.Module:
    """The innermost model around a rotary module: an encoder beside a decoder is one of its own."""
    path = site.name.split(".")
    around = [model.get_submodule(".".join(path[:depth])) for depth in reversed(range(len(path)))]
    return next((module for module in around if isinstance(module, PreTrainedModel)), site.parent)
