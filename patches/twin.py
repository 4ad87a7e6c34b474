"""A model as Transformers makes it from a config, without its numbers: what the config decides besides the weights."""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterable, Iterator

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from rope_scaling.patches.rotary import unpatched_class

Replaced = list[tuple[PreTrainedConfig, PreTrainedConfig]]
"""Live config objects, and what stands in their place in a twin."""


def make_twin(model: nn.Module, replaced: Replaced) -> dict[str, nn.Module]:
    """The modules of a model made anew on the meta device, by the paths that they have in `model`.

    Raises:
        ValueError: Transformers cannot make such a model from its config.
    """
    found: dict[str, nn.Module] = {}
    for prefix, root in _roots(model):
        twin = _make(root, replaced)
        found |= {".".join(filter(None, (prefix, name))): module for name, module in twin.named_modules()}
    return found


def owned_configs(modules: Iterable[nn.Module]) -> set[int]:
    """Ids of the config objects that are saved with a model; any other is a copy that a module has made for itself."""
    owned: set[int] = set()
    for module in modules:
        if isinstance(module, PreTrainedModel):
            owned |= {id(config) for config in _with_parts(module.config)}
    return owned


def _with_parts(config: PreTrainedConfig) -> Iterator[PreTrainedConfig]:
    yield config
    for part in vars(config).values():
        if isinstance(part, PreTrainedConfig):
            yield from _with_parts(part)


def _roots(model: nn.Module, prefix: str = "") -> Iterator[tuple[str, PreTrainedModel]]:
    """The outermost models of Transformers, whatever wraps them."""
    if isinstance(model, PreTrainedModel):
        yield prefix, model
        return
    for name, child in model.named_children():
        yield from _roots(child, ".".join(filter(None, (prefix, name))))


def _make(root: PreTrainedModel, replaced: Replaced) -> nn.Module:
    cls = _own_class(root)
    config = copy.deepcopy(root.config, {id(live): new for live, new in replaced})
    try:
        with torch.device("meta"), torch.random.fork_rng(devices=[]), torch.inference_mode(False):
            return cls(_with_real_dtypes(config))
    except Exception as error:
        raise ValueError(
            f"{cls.__name__} cannot be made from its config, so what a patch must change in it cannot be known: {error}"
        ) from error


def _with_real_dtypes(config: PreTrainedConfig) -> PreTrainedConfig:
    """The same config; some architectures need the dtype that its file spells out as an object."""
    for part in _with_parts(config):
        if isinstance(part.dtype, str):
            part.dtype = getattr(torch, part.dtype)
    return config


def _own_class(root: nn.Module) -> type[nn.Module]:
    """The class that a file defines, before this library, FSDP and the like derived from it."""
    for cls in unpatched_class(type(root)).__mro__:
        named: object = getattr(sys.modules.get(cls.__module__), cls.__name__, None)
        if issubclass(cls, nn.Module) and named is cls:  # FSDPModule is none
            return cls
    return type(root)
