"""The scheme that `patch_model` is asked for, by name or by an earlier patch's record, where the model can have it."""

from __future__ import annotations

from transformers import PreTrainedConfig

from rope_scaling.patches.discover import RotarySite, is_axial
from rope_scaling.patches.request import Request
from rope_scaling.record import read_record
from rope_scaling.schemes import SCHEMES, DynamicScaling, Scheme, is_remap, make_scheme


def scheme_or_record(
    config: PreTrainedConfig,
    scheme: str | Scheme | None,
    original_max_length: int | None,
    on_scaled: str | None,
    layer_types: tuple[str, ...] | None,
    dynamic: bool,
) -> Request:
    """The scheme that was asked for, or without one the one that the config carries."""
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


def refuse_for_kind(request: Request, sites: list[RotarySite], tables: object) -> None:
    """Dynamic scaling and remapped positions need a text's frequencies: no table, no image tower."""
    if not isinstance(request.scheme, DynamicScaling) and not is_remap(request.scheme):
        return
    if tables is not None:
        raise ValueError(f"{request.scheme.name!r} needs frequencies, and this model looks angles up in one table")
    if any(is_axial(site.module) for site in sites):
        raise ValueError(f"{request.scheme.name!r} is for text: an image tower sees all of an image at once")
