"""Patch a live model, undo it, or do both around a block."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar

from torch import nn
from transformers import PreTrainedConfig

from rope_scaling.patches.axial import patch_axial
from rope_scaling.patches.bases import Bases, changes_back, find_bases
from rope_scaling.patches.cache_guard import install_guard, remove_guard
from rope_scaling.patches.checks import check_frequencies, model_configs, warn_of_rounded
from rope_scaling.patches.discover import RotarySite, find_rotary, is_axial
from rope_scaling.patches.dynamic.install import drop_grids, install, put_grids, uninstall
from rope_scaling.patches.dynamic.layout import NoCacheError
from rope_scaling.patches.dynamic.plan_rows import RowsPlan, plan_rows
from rope_scaling.patches.foreign import check_untouched, check_whole
from rope_scaling.patches.generation import raise_generation_length, restore_generation_length
from rope_scaling.patches.plan import ConfigPlan, plan_model
from rope_scaling.patches.reading import check_reading
from rope_scaling.patches.remap.install import install_remap, uninstall_remap
from rope_scaling.patches.remap.plan import RemapPlan, frequencies_of, plan_remap
from rope_scaling.patches.request import Request
from rope_scaling.patches.rotary import BY_CALL, BY_ROW, STATIC, is_patched_class, patched_class
from rope_scaling.patches.side_state import check_live, forget_side, undo_side, write_side
from rope_scaling.patches.snapshot import Snapshot
from rope_scaling.patches.state import (
    ORIGINAL,
    RotaryState,
    exact_state,
    native_state,
    read_state,
    with_numbers,
    write_state,
)
from rope_scaling.patches.tables import TableSnapshot, find_tables, patch_tables, undo_tables
from rope_scaling.record import RECORD, PatchRecord, erase_record, read_record
from rope_scaling.schemes import SCHEMES, DynamicScaling, Scheme, is_remap, make_scheme

ModelT = TypeVar("ModelT", bound=nn.Module)


def patch_model(
    model: ModelT,
    scheme: str | Scheme | None = None,
    *,
    factor: float | None = None,
    max_length: int | None = None,
    original_max_length: int | None = None,
    on_scaled: str | None = None,
    layer_types: tuple[str, ...] | None = None,
    dynamic: bool = False,
) -> ModelT:
    """Scale the rotary embedding of a loaded model, in place.

    The live frequencies, `config.rope_parameters`, `config.max_position_embeddings` and `generation_config` change
    together: a checkpoint saved from the model gives the same logits in plain Transformers. The frequencies stay
    float32 when the model is cast. Patching a patched model replaces its patch. A KV cache filled before is refused
    in eager mode, as far as that can be known without asking the device (not for static caches, nor in compiled
    calls).

    Args:
        model: A Transformers model, or anything that holds one.
        scheme: A name ("ntk", "yarn", ...), or a value (`YaRN(factor=4, beta_fast=16.0)`); without one, the scheme
            that a saved patched checkpoint carries is applied again.
        factor: s, new length / trained length; 2 unless said here, in the scheme or by `max_length`.
        max_length: The new length in tokens, instead of `factor`.
        original_max_length: L in tokens, where the config does not tell the trained length rightly.
        on_scaled: For a checkpoint that is scaled already: "compose" scales on top of it (it was trained so),
            "replace" starts from the plain frequencies (only its config was edited).
        layer_types: Which layers to scale, where each type has a RoPE of its own ("full_attention", ...); all but those
            with a sliding window within the trained length unless given.
        dynamic: Scale each row of a batch by its own length, and not at all within L; `factor` or `max_length` is then
            the most. The same as a scheme's name after `dynamic-`. See docs/dynamic.md.

    Returns:
        The same model.

    Raises:
        TypeError: The model has no rotary embedding, or an argument has the wrong type.
        ValueError: Unknown scheme or option, contradicting factors, an already scaled checkpoint without `on_scaled`,
            or a model that is not understood. The model is untouched then.
    """
    tables = find_tables(model) if isinstance(model, nn.Module) else None
    sites = find_rotary(model) if tables is None else []
    config = sites[0].config if tables is None else tables.config
    asked = _scheme_or_record(config, scheme, original_max_length, on_scaled, layer_types, dynamic)
    request = replace(asked, factor=factor, max_length=max_length)
    _refuse_for_kind(request, sites, tables)
    if tables is not None:
        patch_tables(tables, request)
        return model
    check_untouched(model, sites)
    if any(is_axial(site.module) for site in sites):
        patch_axial(model, sites, request)
        return model
    bases = find_bases(model, sites)
    for site in sites:
        check_reading(site, bases.of_site[site.name])
        check_frequencies(site)
    if isinstance(request.scheme, DynamicScaling):
        _patch_rows(model, sites, bases, plan_rows(sites, bases, request))
        return model
    plan_of_all = plan_model(model, sites, bases, frequencies_of(request))
    remap = plan_remap(model, sites, bases, request)
    reloaded = _is_reloaded(sites)
    check_live(model, plan_of_all.side, reloaded=reloaded)
    pairs = [(site, *plan_of_all.of_site[site.name]) for site in sites]
    states = [
        (_original(site, bases.of_site[site.name]), native_state(type(site.module), config))
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
    return model


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
    originals = [(site, _original(site, bases.of_site[site.name])) for site in sites]
    if _is_reloaded(sites):
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


@contextmanager
def patched(model: ModelT, scheme: str | Scheme, **options: Any) -> Iterator[ModelT]:
    """Patch within a `with` block; on leaving, also by an exception, the model is what it was before.

    Args:
        model: As for `patch_model`.
        scheme: As for `patch_model`.
        **options: The keyword arguments of `patch_model`.
    """
    tables = find_tables(model)
    before = Snapshot.take(model) if tables is None else TableSnapshot.take(tables)
    patch_model(model, scheme, **options)
    try:
        yield model
    finally:
        before.restore()


def _scheme_or_record(
    config: PreTrainedConfig,
    scheme: str | Scheme | None,
    original_max_length: int | None,
    on_scaled: str | None,
    layer_types: tuple[str, ...] | None,
    dynamic: bool,
) -> Request:
    if scheme is not None:
        made = make_scheme(scheme)
        made = DynamicScaling(made) if dynamic and not isinstance(made, DynamicScaling) else made
        return Request(made, None, None, original_max_length, on_scaled, layer_types)
    record = read_record(config)
    if record is None:
        raise ValueError(
            f"no scheme was given and the config carries none from an earlier patch: name one ({', '.join(SCHEMES)})"
        )
    return Request(
        record.make_scheme(),
        original_max_length=original_max_length or record.original_max_position_embeddings,
        on_scaled=on_scaled or record.on_scaled,
        layer_types=layer_types or tuple(record.layer_types) or None,
    )


def _refuse_for_kind(request: Request, sites: list[RotarySite], tables: object) -> None:
    if not isinstance(request.scheme, DynamicScaling) and not is_remap(request.scheme):
        return
    if tables is not None:
        raise ValueError(f"{request.scheme.name!r} needs frequencies, and this model looks angles up in one table")
    if any(is_axial(site.module) for site in sites):
        raise ValueError(f"{request.scheme.name!r} is for text: an image tower sees all of an image at once")


def _patch_rows(model: nn.Module, sites: list[RotarySite], bases: Bases, plan: RowsPlan) -> None:
    """Write a dynamic patch: the config keeps its parameters, each scaled rotary module gets its grids."""
    warn_of_rounded(sites)
    if any(is_patched_class(type(site.module)) or read_record(site.config) for site in sites):
        unpatch_model(model)
    fingerprint = plan.records[0][1].fingerprint
    for site in (site for site in sites if site.name in plan.grids):
        original = _original(site, bases.of_site[site.name])
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


def _is_reloaded(sites: list[RotarySite]) -> bool:
    """Whether a model was patched before it was saved, and not since it was loaded."""
    return any(read_record(s.config) for s in sites) and not any(ORIGINAL in vars(s.module) for s in sites)


def _original(site: RotarySite, base: PreTrainedConfig) -> RotaryState:
    """The state of a module before any patch, whether it was patched here or came so from a checkpoint."""
    held: RotaryState | None = vars(site.module).get(ORIGINAL)
    if held is not None:
        return held
    native = native_state(type(site.module), base)
    if read_record(site.config) is not None:
        return native
    return with_numbers(read_state(site.module, set(native.attributes)), site.config)


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
