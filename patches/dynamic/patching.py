"""Write a dynamic patch: grids for the rotary modules that it scales, records and hooks."""

from __future__ import annotations

import copy

from torch import nn

from rope_scaling.patches.bases import Bases
from rope_scaling.patches.cache_guard import install_guard, remove_guard
from rope_scaling.patches.checks import warn_of_rounded
from rope_scaling.patches.discover import RotarySite
from rope_scaling.patches.dynamic.install import install, put_grids
from rope_scaling.patches.dynamic.layout import NoCacheError
from rope_scaling.patches.dynamic.plan_rows import RowsPlan
from rope_scaling.patches.original import original_state
from rope_scaling.patches.rotary import BY_ROW, is_patched_class, patched_class
from rope_scaling.patches.state import ORIGINAL, exact_state, native_state, write_state
from rope_scaling.patches.unpatch import unpatch_model
from rope_scaling.record import RECORD, read_record


def patch_rows(model: nn.Module, sites: list[RotarySite], bases: Bases, plan: RowsPlan) -> None:
    """Write a dynamic patch: the config keeps its parameters, each scaled rotary module gets its grids."""
    warn_of_rounded(sites)
    if any(is_patched_class(type(site.module)) or read_record(site.config) for site in sites):
        unpatch_model(model)
    fingerprint = plan.records[0][1].fingerprint
    for site in (site for site in sites if site.name in plan.grids):
        original = original_state(site, bases.of_site[site.name])
        state = exact_state(original, native_state(type(site.module), bases.of_site[site.name]))
        write_state(site.module, state, patched_class(type(site.module), BY_ROW))
        vars(site.module)[ORIGINAL] = original
        put_grids(site.module, plan.grids[site.name])
        remove_guard(site.parent)
        install_guard(site.parent, fingerprint)
    for config, record in plan.records:
        record.write(config)
    for site in (site for site in sites if site.name in bases.copied):
        setattr(site.config, RECORD, copy.deepcopy(getattr(plan.records[0][0], RECORD)))
    try:
        install(model, [site for site in sites if site.name in plan.grids])
    except NoCacheError:
        unpatch_model(model)
        raise ValueError(
            f"{type(model).__name__} keeps its keys where no cache shows them: a row that grows past its scale would "
            "go wrong unnoticed, so dynamic scaling is refused; a static scheme works (dynamic=False)"
        ) from None
