"""What a dynamic patch will do to a model, worked out and tried before anything is touched."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig

from rope_scaling.config import read_rope_parameters
from rope_scaling.patches.bases import Bases
from rope_scaling.patches.discover import RotarySite, attention_scaling, frequency_buffers
from rope_scaling.patches.dynamic.grid import RowScheme, make_grid
from rope_scaling.patches.dynamic.install import Grids
from rope_scaling.patches.dynamic.rows import OneRow, plain_forward, takes_all_rows
from rope_scaling.patches.layer_types import asked_layer_types
from rope_scaling.patches.plan import changed_keys
from rope_scaling.patches.request import Request, trained_rope
from rope_scaling.patches.rotary import unpatched_class
from rope_scaling.patches.state import fresh_module
from rope_scaling.record import PatchRecord
from rope_scaling.schemes import DynamicScaling, scheme_options
from rope_scaling.schemes.factor import resolve_factor
from rope_scaling.temperature import asked_temperature

_EXACT = 1e-6


@dataclass(frozen=True)
class RowsPlan:
    """What becomes of a model.

    Attributes:
        grids: For each rotary module's path, the grids that it gets.
        records: Each config object that is saved with the model, and what will be recorded in it.
    """

    grids: dict[str, Grids]
    records: list[tuple[PreTrainedConfig, PatchRecord]]


def plan_rows(sites: list[RotarySite], bases: Bases, request: Request) -> RowsPlan:
    """Settle a request for every rotary module, and try on modules made anew that they rotate so.

    Raises:
        ValueError: The request does not fit this checkpoint, or an architecture would rotate otherwise.
    """
    grids: dict[str, Grids] = {}
    records = []
    for live, base in bases.configs:
        own = [site for site in sites if site.config is live or site.name in bases.copied]
        asked = asked_layer_types(base, own, request)
        for site in own:
            kinds = [kind for kind in asked if kind in frequency_buffers(site.module).values()]
            read = bases.of_site[site.name]
            cls = unpatched_class(type(site.module))
            grids[site.name] = {_prefix(kind): _settle(read, kind, request, cls) for kind in kinds}
            for kind in kinds:
                _try(cls, read, kind, grids[site.name][_prefix(kind)])
        first = next(grid for site in own for grid in grids[site.name].values())
        records.append((live, _record(base, first, asked, request)))
    _check_one_length(grids)
    return RowsPlan({name: grid for name, grid in grids.items() if grid}, records)


def _settle(config: PreTrainedConfig, layer_type: str | None, request: Request, cls: type[nn.Module]) -> RowScheme:
    """What a rotary module's rows will be scaled by."""
    assert isinstance(request.scheme, DynamicScaling)
    rope = trained_rope(config, layer_type, request)
    cap = resolve_factor(rope, request.scheme.factor, request.factor, request.max_length, math.inf)
    scheme = request.scheme.capped(None if math.isinf(cap) else cap)
    before = read_rope_parameters(config, layer_type)
    if asked_temperature(scheme.scheme, before, 2.0) != 1.0:
        raise ValueError(
            "mscale_all_dim asks for a temperature in the softmax scale, one number for all rows: yarn cannot be "
            "dynamic on this checkpoint; dynamic-ntk can, and yarn with dynamic=False"
        )
    scheme.scheme(rope)  # an option that does not fit is an error here
    module = fresh_module(cls, config)
    broadcasts = takes_all_rows(module, _prefix(layer_type))
    return RowScheme(scheme, rope, attention_scaling(module, layer_type), broadcasts)


def _try(cls: type[nn.Module], config: PreTrainedConfig, kind: str | None, settled: RowScheme) -> None:
    """ValueError unless a module that is shown a row of the grid rotates by it, and by the first as it does itself."""
    module, prefix = fresh_module(cls, config), _prefix(kind)
    grid = make_grid(settled.scheme, settled.rope, module.get_buffer(prefix + "inv_freq"), settled.factor)
    x = torch.zeros(1, 2, 1, dtype=torch.float32, device="cpu")
    positions = torch.arange(2, device="cpu")[None]  # (1, 2)
    named = () if kind is None else (kind,)
    for row in (0, len(grid.lengths) - 1):
        shown = OneRow(module, prefix, grid.inv_freq[row], grid.factors[row])
        try:
            turned = plain_forward(cls)(shown, x, positions, *named)
        except IndexError:  # positions on three axes, and no others
            turned = plain_forward(cls)(shown, x, positions.expand(3, 1, -1), *named)
        cos = turned[0] if isinstance(turned, tuple) else turned.real  # (1, 2, pairs or 2 pairs)
        meant = (grid.inv_freq[row].cos() * grid.factors[row]).repeat(cos.shape[-1] // grid.inv_freq.shape[-1])
        if not _alike(cos[0, 1], meant):
            raise ValueError(
                f"{cls.__name__} does not rotate by the frequencies that it holds: it cannot have others for each row"
            )


def _alike(one: Tensor, other: Tensor) -> bool:
    """Whether two lists of cosines are the same in some order."""
    return one.shape == other.shape and torch.allclose(one.sort().values, other.sort().values, rtol=0, atol=_EXACT)


def _check_one_length(grids: dict[str, Grids]) -> None:
    of_each = (one for grid in grids.values() for one in grid.values())
    lengths = {(one.rope.original_max_position_embeddings, one.scheme.factor) for one in of_each}
    if len(lengths) > 1:
        raise ValueError(
            f"the layers of this model were trained to different lengths ({sorted(str(one) for one in lengths)}): "
            "dynamic scaling gives a sequence one scale; name the layers that it is for with layer_types="
        )


def _record(base: PreTrainedConfig, grid: RowScheme, asked: list[str | None], request: Request) -> PatchRecord:
    scheme = grid.scheme
    length = grid.rope.original_max_position_embeddings
    scaled = read_rope_parameters(base, asked[0])["rope_type"] != "default"
    return PatchRecord(
        scheme=scheme.name,
        options=scheme_options(scheme),
        original_max_position_embeddings=length,
        max_position_embeddings=None if scheme.factor is None else math.floor(scheme.factor * length + 1e-6),
        before={key: copy.deepcopy(getattr(base, key)) for key in changed_keys(base)},
        on_scaled=request.on_scaled if scaled else None,
        layer_types=[kind for kind in asked if kind is not None],
        native=False,
    )


def _prefix(layer_type: str | None) -> str:
    return "" if layer_type is None else f"{layer_type}_"
