"""A model's patch state, taken and put back exactly."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

from torch import nn
from transformers import GenerationConfig, PreTrainedConfig

from rope_scaling.patches.cache_guard import guard_of, install_guard, remove_guard
from rope_scaling.patches.checks import model_configs
from rope_scaling.patches.discover import RotarySite, find_rotary
from rope_scaling.patches.dynamic.grid import GRIDS
from rope_scaling.patches.dynamic.install import Grids, drop_grids, install, put_grids, uninstall
from rope_scaling.patches.generation import generation_configs
from rope_scaling.patches.remap.install import install_remap, take_remap, uninstall_remap
from rope_scaling.patches.remap.plan import RemappedHome
from rope_scaling.patches.side_state import restore_side, take_side
from rope_scaling.patches.state import ORIGINAL, RotaryState, native_state, read_state, with_numbers, write_state
from rope_scaling.record import RECORD

_KEYS = (RECORD, "rope_parameters", "rope_theta", "max_position_embeddings", "original_max_position_embeddings")


@dataclass(frozen=True)
class SiteSnapshot:
    """One rotary module, and the guard of its parent."""

    site: RotarySite
    state: RotaryState
    original: RotaryState | None
    guard: str | None
    grids: Grids | None

    def restore(self) -> None:
        """Put all of it back."""
        write_state(self.site.module, self.state, self.state.cls)
        vars(self.site.module).pop(ORIGINAL, None)
        drop_grids(self.site.module)
        if self.grids:
            put_grids(self.site.module, self.grids)
        if self.original is not None:
            vars(self.site.module)[ORIGINAL] = self.original
        remove_guard(self.site.parent)
        if self.guard is not None:
            install_guard(self.site.parent, self.guard)


@dataclass(frozen=True)
class Snapshot:
    """Everything in a model that `patch_model` may change."""

    sites: list[SiteSnapshot]
    configs: list[tuple[PreTrainedConfig, dict[str, Any]]]
    generation: list[tuple[GenerationConfig, int | None]]
    side: list[tuple[nn.Module, dict[str, Any]]]
    remap: list[RemappedHome]
    model: nn.Module

    @classmethod
    def take(cls, model: nn.Module) -> Snapshot:
        """Read it from a model."""
        sites = find_rotary(model)
        configs = [
            (config, {key: copy.deepcopy(getattr(config, key)) for key in _KEYS if hasattr(config, key)})
            for config in model_configs(sites)
        ]
        generation = [(one, one.max_length) for one in generation_configs(model)]
        return cls(
            [_take_site(site) for site in sites], configs, generation, take_side(model), take_remap(model), model
        )

    def restore(self) -> None:
        """Put it back into the same model."""
        model = self.model
        uninstall(model)
        uninstall_remap(model)
        restore_side(self.side)
        for site in self.sites:
            site.restore()
        for config, values in self.configs:
            for key in _KEYS:
                if key in values:
                    setattr(config, key, values[key])
                elif hasattr(config, key):
                    delattr(config, key)
        for one, max_length in self.generation:
            one.max_length = max_length
        install_remap(model, self.remap)
        install(model, [held.site for held in self.sites if held.grids])


def _take_site(site: RotarySite) -> SiteSnapshot:
    names = set(native_state(type(site.module), site.config).attributes)
    return SiteSnapshot(
        site,
        with_numbers(read_state(site.module, names), site.config),
        vars(site.module).get(ORIGINAL),
        guard_of(site.parent),
        vars(site.module).get(GRIDS),
    )
