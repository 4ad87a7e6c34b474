"""What a model's rotary embedding is now, in words."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import nn

from rope_scaling.config import layer_types_of, max_position_embeddings, read_rope
from rope_scaling.patches.axial import grid_side
from rope_scaling.patches.checks import model_configs, rounded_buffers
from rope_scaling.patches.discover import RotarySite, find_rotary, is_axial
from rope_scaling.patches.dynamic.layout import LAYOUT, UNASKED
from rope_scaling.patches.dynamic.plans import homes_in
from rope_scaling.patches.remap.install import take_remap
from rope_scaling.patches.tables import TableModel, find_tables
from rope_scaling.record import read_record
from rope_scaling.schemes import DynamicScaling, Scheme


@dataclass(frozen=True)
class Description:
    """What is patched, with which scheme, from what length to what length.

    Attributes:
        scheme: The scheme with its factor; None where the model is not patched.
        original_max_position_embeddings: L that was scaled from; unpatched, what the config says was trained. Of an
            image tower the side of its grid in patches, 0 where its config does not tell.
        max_length: The length that the model reaches now, in tokens; of an image tower as above. None where dynamic
            scaling has no bound.
        rope_type: What `config.rope_parameters` says now; "axial" of a tower, "tables" of GPT-J and CodeGen.
        on_scaled: How a checkpoint that was scaled before was treated.
        modules: Paths of the rotary modules.
        layer_types: The layer types that are scaled, where a model has several.
        rounded: Frequency buffers that a cast of the model has rounded: positions past a few thousand are off.
        cannot_grow: With dynamic scaling, why cached keys cannot be rotated anew, so that lengths must be planned.
        pending: Whether the scheme is only recorded, in a checkpoint whose config cannot say it, and not applied yet.
    """

    scheme: Scheme | None
    original_max_position_embeddings: int
    max_length: int | None
    rope_type: str
    on_scaled: str | None
    modules: list[str]
    layer_types: list[str]
    rounded: list[str]
    cannot_grow: str | None = None
    pending: bool = False

    @property
    def factor(self) -> float:
        """The scheme's s; unpatched, the declared length / trained length."""
        if self.scheme is not None and self.scheme.factor is not None:
            return self.scheme.factor
        if self.max_length is None:
            return math.inf
        return self.max_length / (self.original_max_position_embeddings or 1)

    @property
    def dynamic(self) -> bool:
        """Whether each row is scaled by its own length."""
        return isinstance(self.scheme, DynamicScaling)

    def __str__(self) -> str:
        told = "not patched" if self.scheme is None else f"patched with {self.scheme}"
        if self.pending:
            told = f"recorded and not applied, which patch_model(model) does: {self.scheme}"
        reached = "any number of" if self.max_length is None else self.max_length
        lines = [
            f"{told}: {self.original_max_position_embeddings} -> {reached} tokens "
            f"(rope_type {self.rope_type!r}; {', '.join(self.modules)})"
        ]
        if self.rounded:
            lines.append(
                f"rounded frequencies in {', '.join(self.rounded)}: patch_model(model, 'none') makes them exact"
            )
        if self.cannot_grow:
            lines.append(f"lengths must be planned, cached keys cannot grow: {self.cannot_grow}")
        return "\n".join(lines)


def describe(model: nn.Module) -> Description:
    """Describe the rotary embedding of a model, patched or not.

    Raises:
        TypeError: The model has no rotary embedding.
        ValueError: It has one that is not understood.
    """
    tables = find_tables(model)
    if tables is not None:
        return _describe_tables(model, tables)
    sites = find_rotary(model)
    if is_axial(sites[0].module):
        return _describe_tower(sites)
    config = model_configs(sites)[0]
    record = read_record(config)
    layer_type = next(iter(layer_types_of(config)), None)
    own = config.rope_parameters if layer_type is None else config.rope_parameters[layer_type]
    trained = read_rope(config, layer_type).original_max_position_embeddings
    return Description(
        scheme=None if record is None else record.make_scheme(),
        original_max_position_embeddings=trained if record is None else record.original_max_position_embeddings,
        max_length=max_position_embeddings(config) if record is None else record.max_position_embeddings,
        rope_type=str(own["rope_type"]),
        on_scaled=None if record is None else record.on_scaled,
        modules=[site.name for site in sites],
        layer_types=[] if record is None else record.layer_types,
        rounded=rounded_buffers(sites),
        cannot_grow=_cannot_grow(model),
        pending=record is not None and not record.native and not (homes_in(model) or take_remap(model)),
    )


def _cannot_grow(model: nn.Module) -> str | None:
    layouts = [vars(home).get(LAYOUT) for home in homes_in(model)]
    reasons = (UNASKED if one is None else one.unknown for one in layouts)
    return next(filter(None, reasons), None)


def _describe_tables(model: nn.Module, tables: TableModel) -> Description:
    record = read_record(tables.config)
    length = tables.config.max_position_embeddings
    return Description(
        scheme=None if record is None else record.make_scheme(),
        original_max_position_embeddings=length if record is None else record.original_max_position_embeddings,
        max_length=length if record is None else record.max_position_embeddings,
        rope_type="tables",
        on_scaled=None,
        modules=[name for name, module in model.named_modules() if module in tables.attentions],
        layer_types=[],
        rounded=[],
    )


def _describe_tower(sites: list[RotarySite]) -> Description:
    config = sites[0].config
    record = read_record(config)
    side = grid_side(config) or 0
    return Description(
        scheme=None if record is None else record.make_scheme(),
        original_max_position_embeddings=side if record is None else record.original_max_position_embeddings,
        max_length=side if record is None else record.max_position_embeddings,
        rope_type="axial",
        on_scaled=None,
        modules=[site.name for site in sites],
        layer_types=[],
        rounded=rounded_buffers(sites),
    )
