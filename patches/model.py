"""Patch a live model, or patch it for the length of a block."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar

from torch import nn

from rope_scaling.patches.asked import refuse_for_kind, scheme_or_record
from rope_scaling.patches.axial import patch_axial
from rope_scaling.patches.bases import find_bases
from rope_scaling.patches.checks import check_frequencies
from rope_scaling.patches.discover import find_rotary, is_axial
from rope_scaling.patches.dynamic.patching import patch_rows
from rope_scaling.patches.dynamic.plan_rows import plan_rows
from rope_scaling.patches.foreign import check_untouched
from rope_scaling.patches.frequencies import patch_frequencies
from rope_scaling.patches.reading import check_reading
from rope_scaling.patches.snapshot import Snapshot
from rope_scaling.patches.tables import TableSnapshot, find_tables, patch_tables
from rope_scaling.schemes import DynamicScaling, Scheme

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
    asked = scheme_or_record(config, scheme, original_max_length, on_scaled, layer_types, dynamic)
    request = replace(asked, factor=factor, max_length=max_length)
    refuse_for_kind(request, sites, tables)
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
        patch_rows(model, sites, bases, plan_rows(sites, bases, request))
    else:
        patch_frequencies(model, sites, bases, request)
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
