"""A remap put on a model, taken off it, and put back as it was."""

from __future__ import annotations

from torch import nn
from transformers import GenerationMixin

from rope_scaling.patches.dynamic.generation import Planned, remove_planning
from rope_scaling.patches.remap.attention import register
from rope_scaling.patches.remap.hooks import hook_attention, hook_home, hook_rotary
from rope_scaling.patches.remap.layer import LAYER
from rope_scaling.patches.remap.plan import RemappedHome
from rope_scaling.patches.remap.view import shown_by, view_of
from rope_scaling.patches.says_once import SaysOnce

HOOKS = "_rope_scaling_remap_hooks"
"""Attribute of a home: the handles of its hooks, and of those inside."""
_CRITERIA = "_get_stopping_criteria"
_SAVED = (
    "remapped positions are saved as a record in the config (rope_scaling_patch) and nothing else: plain Transformers "
    "loads this checkpoint without them; patch_model(model) without a scheme applies them again"
)


def install_remap(model: nn.Module, homes: list[RemappedHome]) -> None:
    """Let attention modules call the remapped attention function, and hooks tell it where tokens stand.

    `generate()` warns nobody of the config's length, which stays as it was.
    """
    for one in homes:
        handles = hook_home(one.home) + [handle for rotary in one.rotary for handle in hook_rotary(rotary)]
        for module, layer in one.layers.items():
            register(shown_by(module.config)._attn_implementation or "eager")  # type: ignore[arg-type]
            vars(module)["config"] = view_of(shown_by(module.config))  # type: ignore[arg-type]
            vars(module)[LAYER] = layer
            handles += hook_attention(module)
        handles.append(one.home.register_state_dict_pre_hook(SaysOnce(_SAVED)))  # type: ignore[no-untyped-call]
        vars(one.home)[HOOKS] = handles
    for module in model.modules():
        if isinstance(module, GenerationMixin) and any(HOOKS in vars(inner) for inner in module.modules()):
            vars(module)[_CRITERIA] = Planned(module, _CRITERIA, vars(module).get(_CRITERIA))


def uninstall_remap(model: nn.Module) -> None:
    """Take all of it off."""
    remove_planning(model)
    for module in model.modules():
        if vars(module).pop(LAYER, None) is not None:
            vars(module)["config"] = shown_by(module.config)  # type: ignore[arg-type]
        for handle in vars(module).pop(HOOKS, ()):
            handle.remove()


def take_remap(model: nn.Module) -> list[RemappedHome]:
    """What is put on a model now, for `install_remap`."""
    homes = []
    for home in model.modules():
        if HOOKS in vars(home):
            layers = {module: vars(module)[LAYER] for module in home.modules() if LAYER in vars(module)}
            rotary = [module for module in home.modules() if any(module is x.layout.rotary for x in layers.values())]
            homes.append(RemappedHome(home, rotary, layers))
    return homes
