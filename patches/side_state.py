"""What a model derives from its RoPE parameters outside the rotary modules: set with a patch, put back with it.

DeepSeek's family folds YaRN's temperature into `attention.scaling` when it is made, granite_swa gives each rotary
module a copy of the config. Neither is known here by name: two twins, made by Transformers from the config as it was
and as it will be, differ in them.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedConfig

SIDE = "_rope_scaling_side"
"""Attribute of a module that holds those of its attributes that a patch has changed, as they were."""

_EXACT = 1e-6


@dataclass(frozen=True)
class SideChange:
    """One attribute of one module that follows the config."""

    path: str
    name: str
    before: Any
    after: Any

    def __str__(self) -> str:
        return f"{self.path}.{self.name} from {self.before!r} to {self.after!r}"


def side_changes(before: dict[str, nn.Module], after: dict[str, nn.Module], rotary: set[str]) -> list[SideChange]:
    """The plain attributes in which two twins differ, but for the insides of the modules at the paths `rotary`.

    Raises:
        ValueError: Their weights differ in shape.
    """
    changes = []
    for path in before.keys() - rotary:
        one, other = before[path], after[path]
        _check_shapes(path, one, other)
        for name, value in vars(one).items():
            new = vars(other).get(name)
            if _is_plain(value) and value != new:
                changes.append(SideChange(path, name, value, new))
    return changes


def copied_configs(before: dict[str, nn.Module], after: dict[str, nn.Module], paths: set[str]) -> list[SideChange]:
    """The configs that the rotary modules at `paths` have copied for themselves, in one twin and in the other."""
    return [SideChange(path, "config", before[path].config, after[path].config) for path in paths]


def check_side_changes(changes: list[SideChange], understood: Callable[[SideChange], bool]) -> None:
    """ValueError where a config would change what nobody has asked for."""
    strange = [change for change in changes if change.name != "config" and not understood(change)]
    if strange:
        raise ValueError(
            f"this architecture would also change {strange[0]}, which no scheme means: its config cannot be told this"
        )


def follows(old: PreTrainedConfig, new: PreTrainedConfig, softmax_ratio: float) -> Callable[[SideChange], bool]:
    """Whether a change is one that belongs to the patch: the length, the parameters themselves, the temperature."""

    def understood(change: SideChange) -> bool:
        if change.name == "rope_parameters":
            return bool(change.after == new.rope_parameters)
        if isinstance(change.before, int) and isinstance(change.after, int):
            return (change.before, change.after) == (old.max_position_embeddings, new.max_position_embeddings)
        if isinstance(change.before, float) and isinstance(change.after, float) and change.before:
            return math.isclose(change.after / change.before, softmax_ratio, rel_tol=_EXACT)
        return False

    return understood


def check_live(model: nn.Module, changes: list[SideChange], *, reloaded: bool) -> None:
    """ValueError unless the live model holds what the config says of the attributes that are to change."""
    for change in changes:
        try:
            module = model.get_submodule(change.path)
            held = vars(module)[change.name]
        except (AttributeError, KeyError):
            raise ValueError(
                f"{change.path}.{change.name}, which must follow the patch, is not where Transformers puts it: "
                "another library has moved it"
            ) from None
        original = vars(module).get(SIDE, {}).get(change.name, None if reloaded else held)
        if original is not None and change.name != "config" and original != change.before:
            raise ValueError(
                f"{change.path}.{change.name} is {original!r}, where its config gives {change.before!r}: something "
                "else has changed this model; load it again"
            )


def write_side(model: nn.Module, changes: list[SideChange], *, reloaded: bool) -> None:
    """Set every change, and keep what was there before any patch."""
    undo_side(model)
    for change in changes:
        module = model.get_submodule(change.path)
        original = change.before if reloaded else vars(module)[change.name]
        vars(module)[SIDE] = vars(module).get(SIDE, {}) | {change.name: original}
        vars(module)[change.name] = copy.deepcopy(change.after)


def undo_side(model: nn.Module) -> None:
    """Put back whatever `write_side` has changed."""
    for module in model.modules():
        for name, value in vars(module).pop(SIDE, {}).items():
            vars(module)[name] = value


def forget_side(model: nn.Module) -> None:
    """Take what `write_side` has set for the model's own."""
    for module in model.modules():
        vars(module).pop(SIDE, None)


def take_side(model: nn.Module) -> list[tuple[nn.Module, dict[str, Any]]]:
    """The attributes of every module as they are now, for `restore_side`."""
    return [(module, dict(vars(module))) for module in model.modules()]


def restore_side(taken: list[tuple[nn.Module, dict[str, Any]]]) -> None:
    """Put back what has changed of them since."""
    for module, held in taken:
        for name in [*vars(module).pop(SIDE, {}), *held.get(SIDE, {})]:
            vars(module)[name] = held[name]
        if SIDE in held:
            vars(module)[SIDE] = held[SIDE]


def _check_shapes(path: str, one: nn.Module, other: nn.Module) -> None:
    for kind in ("_parameters", "_buffers"):
        for name, tensor in vars(one)[kind].items():
            new = vars(other)[kind].get(name)
            if isinstance(tensor, torch.Tensor) and (new is None or new.shape != tensor.shape):
                raise ValueError(
                    f"{path}.{name} has as many rows as the config has max_position_embeddings: "
                    "a longer config would not fit the weights"
                )


def _is_plain(value: object) -> bool:
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    if isinstance(value, dict):
        return all(map(_is_plain, value.values()))
    return isinstance(value, (int, float, str)) and not isinstance(value, bool)
