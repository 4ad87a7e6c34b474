"""One set of frequencies for texts of every length: planned whole, then written into modules, configs and guards."""

from __future__ import annotations

import copy
from dataclasses import replace

from torch import nn

from rope_scaling.patches.bases import Bases
from rope_scaling.patches.cache_guard import install_guard, remove_guard
from rope_scaling.patches.checks import warn_of_rounded
from rope_scaling.patches.discover import RotarySite
from rope_scaling.patches.dynamic.install import drop_grids, uninstall
from rope_scaling.patches.generation import raise_generation_length, restore_generation_length
from rope_scaling.patches.original import is_reloaded, original_state
from rope_scaling.patches.plan import ConfigPlan, plan_model
from rope_scaling.patches.remap.install import install_remap, uninstall_remap
from rope_scaling.patches.remap.plan import RemapPlan, frequencies_of, plan_remap
from rope_scaling.patches.request import Request
from rope_scaling.patches.rotary import BY_CALL, STATIC, patched_class
from rope_scaling.patches.side_state import check_live, write_side
from rope_scaling.patches.state import ORIGINAL, native_state, write_state
from rope_scaling.record import RECORD, PatchRecord, read_record


def patch_frequencies(model: nn.Module, sites: list[RotarySite], bases: Bases, request: Request) -> None:
    """Write a static patch, or one that remaps positions, over whatever patch there was."""
    plan_of_all = plan_model(model, sites, bases, frequencies_of(request))
    remap = plan_remap(model, sites, bases, request)
    reloaded = is_reloaded(sites)
    check_live(model, plan_of_all.side, reloaded=reloaded)
    pairs = [(site, *plan_of_all.of_site[site.name]) for site in sites]
    states = [
        (original_state(site, bases.of_site[site.name]), native_state(type(site.module), config))
        for site, _, config in pairs
    ]
    warn_of_rounded(sites)
    uninstall(model)
    uninstall_remap(model)
    write_side(model, plan_of_all.side, reloaded=reloaded)
    for (site, plan, _), (original, state) in zip(pairs, states, strict=True):
        write_state(site.module, state, patched_class(type(site.module), STATIC if plan.static else BY_CALL))
        drop_grids(site.module)
        vars(site.module)[ORIGINAL] = original
        remove_guard(site.parent)
        if remap is not None or not plan.changes_nothing:
            install_guard(site.parent, _recorded(plan, remap).fingerprint)
    for plan in plan_of_all.configs:
        _write_config(model, plan, _recorded(plan, remap))
    for site in (site for site in sites if site.name in bases.copied):
        setattr(site.config, RECORD, copy.deepcopy(getattr(plan_of_all.configs[0].live, RECORD)))
    if remap is not None:
        install_remap(model, remap.homes)


def _recorded(plan: ConfigPlan, remap: RemapPlan | None) -> PatchRecord:
    return plan.record if remap is None else remap.record(plan.live, plan.record)


def _write_config(model: nn.Module, plan: ConfigPlan, said: PatchRecord) -> None:
    restore_generation_length(model, read_record(plan.live))
    old, new = said.before["max_position_embeddings"], said.max_position_embeddings
    assert new is not None
    record = replace(said, generation_max_length=raise_generation_length(model, old, new))
    for key in record.before:
        setattr(plan.live, key, copy.deepcopy(getattr(plan.patched, key)))
    record.write(plan.live)
