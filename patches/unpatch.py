"""Undo a patch, made here or before its checkpoint was saved."""

from __future__ import annotations

from typing import TypeVar

from torch import nn

from rope_scaling.patches.bases import changes_back, find_bases
from rope_scaling.patches.cache_guard import remove_guard
from rope_scaling.patches.checks import model_configs
from rope_scaling.patches.discover import find_rotary
from rope_scaling.patches.dynamic.install import drop_grids, uninstall
from rope_scaling.patches.foreign import check_whole
from rope_scaling.patches.generation import restore_generation_length
from rope_scaling.patches.original import is_reloaded, original_state
from rope_scaling.patches.remap.install import uninstall_remap
from rope_scaling.patches.rotary import is_patched_class
from rope_scaling.patches.side_state import forget_side, undo_side, write_side
from rope_scaling.patches.state import ORIGINAL, write_state
from rope_scaling.patches.tables import find_tables, undo_tables
from rope_scaling.record import erase_record, read_record

ModelT = TypeVar("ModelT", bound=nn.Module)


def unpatch_model(model: ModelT) -> ModelT:
    """Undo `patch_model`: classes, frequencies, config and generation config are exactly what they were.

    Works on a saved and reloaded checkpoint as well, from the record in its config. A cache filled while the model was
    patched must not be used afterwards; nothing is left in the model that could notice.

    Raises:
        TypeError: The model has no rotary embedding.
        ValueError: The model is not patched.
    """
    tables = find_tables(model)
    if tables is not None and read_record(tables.config) is not None:
        undo_tables(tables)
        return model
    sites = find_rotary(model)
    configs = model_configs(sites)
    if not any(is_patched_class(type(s.module)) for s in sites) and not any(map(read_record, configs)):
        raise ValueError(f"{type(model).__name__} is not patched: there is nothing to undo")
    check_whole(sites)
    bases = find_bases(model, sites)
    originals = [(site, original_state(site, bases.of_site[site.name])) for site in sites]
    if is_reloaded(sites):
        write_side(model, changes_back(model, sites, bases), reloaded=False)
        forget_side(model)
    undo_side(model)
    uninstall(model)
    uninstall_remap(model)
    for site, state in originals:
        write_state(site.module, state, state.cls)
        drop_grids(site.module)
        vars(site.module).pop(ORIGINAL, None)
        remove_guard(site.parent)
    for config, _ in bases.configs:
        restore_generation_length(model, read_record(config))
        erase_record(config)
    return model
