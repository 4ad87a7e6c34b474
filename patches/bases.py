"""A model, patched or not, as it was before any patch."""

from __future__ import annotations

import copy
from dataclasses import dataclass

from torch import nn
from transformers import PreTrainedConfig

from rope_scaling.patches.discover import RotarySite
from rope_scaling.patches.side_state import SideChange, copied_configs, side_changes
from rope_scaling.patches.twin import make_twin, owned_configs
from rope_scaling.record import erase_record


@dataclass(frozen=True)
class Bases:
    """A model as it was before any patch.

    Attributes:
        twin: Its modules, without numbers.
        configs: Each live config object that is saved with the model, and a copy of it as it was.
        of_site: What each rotary module read, by its path.
        copied: The paths of rotary modules that have copied the config for themselves.
    """

    twin: dict[str, nn.Module]
    configs: list[tuple[PreTrainedConfig, PreTrainedConfig]]
    of_site: dict[str, PreTrainedConfig]
    copied: set[str]


def find_bases(model: nn.Module, sites: list[RotarySite]) -> Bases:
    """Read a model, patched or not, as it was before.

    Raises:
        ValueError: A rotary module reads a config that is neither the model's nor made from it.
    """
    owned = owned_configs(model.modules())
    live = list({id(site.config): site.config for site in sites if id(site.config) in owned}.values())
    configs = [(config, unpatched_config(config)) for config in live]
    twin = make_twin(model, configs)
    base = {id(config): as_it_was for config, as_it_was in configs}
    copied = {site.name for site in sites if id(site.config) not in owned}
    for site in sites:
        own_copy = site.name in twin and id(twin[site.name].config) not in owned_configs(twin.values())
        if site.name in copied and not (own_copy and len(configs) == 1):
            raise ValueError(
                f"{site.name} ({type(site.module).__name__}) reads a config that is not the model's: it would not be "
                "saved with the model"
            )
    of_site = {s.name: twin[s.name].config if s.name in copied else base[id(s.config)] for s in sites}
    return Bases(twin, configs, of_site, copied)  # type: ignore[arg-type]


def changes_back(model: nn.Module, sites: list[RotarySite], bases: Bases) -> list[SideChange]:
    """What a reloaded patched checkpoint holds outside its rotary modules, and what it would hold without the patch."""
    now = make_twin(model, [])
    side = side_changes(now, bases.twin, {site.name for site in sites})
    return side + copied_configs(now, bases.twin, bases.copied)


def unpatched_config(config: PreTrainedConfig) -> PreTrainedConfig:
    """A copy of `config` as it was before any patch."""
    base = copy.deepcopy(config)
    erase_record(base)
    return base
