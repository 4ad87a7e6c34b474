"""What a remap scheme will do to a model, worked out and tried before anything is touched."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from torch import nn
from transformers import PreTrainedConfig

from rope_scaling.patches.bases import Bases
from rope_scaling.patches.discover import RotarySite, frequency_buffers
from rope_scaling.patches.dynamic.install import home_of
from rope_scaling.patches.layer_types import asked_layer_types
from rope_scaling.patches.remap.ask import ElsewhereError
from rope_scaling.patches.remap.attention import NOT_TAKEN
from rope_scaling.patches.remap.law import check_law
from rope_scaling.patches.remap.layer import RemappedLayer, first_moved
from rope_scaling.patches.remap.probe import Found, find_attention
from rope_scaling.patches.request import LayerRequest, Request, settle
from rope_scaling.record import PatchRecord
from rope_scaling.schemes import NoScaling, Remap, is_remap, parse_scheme, scheme_options


@dataclass(frozen=True)
class RemappedHome:
    """What becomes of one model around rotary modules.

    Attributes:
        home: The model, in whose forward tokens get their positions.
        rotary: Its rotary modules.
        layers: Its attention modules that are remapped.
        reached: Whether it has attention that could be, though it be by a factor of 1.
    """

    home: nn.Module
    rotary: list[nn.Module]
    layers: dict[nn.Module, RemappedLayer]
    reached: bool = True


@dataclass(frozen=True)
class RemapPlan:
    """What becomes of a model.

    Attributes:
        homes: The models inside it that have rotary modules.
        requests: What was asked of each config, settled for one of its layer types.
    """

    homes: list[RemappedHome]
    requests: dict[int, LayerRequest]

    def record(self, config: PreTrainedConfig, frequencies: PatchRecord) -> PatchRecord:
        """What to record in a config, by the record of the frequencies that the scheme stands on."""
        asked = self.requests[id(config)]
        length = asked.rope.original_max_position_embeddings
        return replace(
            frequencies,
            scheme=asked.scheme.name,
            options=scheme_options(asked.scheme),
            original_max_position_embeddings=length,
            max_position_embeddings=math.floor(asked.factor * length + 1e-6),
            native=False,
        )


def frequencies_of(request: Request) -> Request:
    """What a request asks of the frequencies: those of the scheme that a remap scheme stands on, mostly the trained."""
    if not is_remap(request.scheme):
        return request
    if request.scheme.over is None:  # the config stays as it is, whatever the length is taken for
        return replace(request, scheme=NoScaling(factor=1.0), factor=None, max_length=None, original_max_length=None)
    return replace(request, scheme=parse_scheme(request.scheme.over), factor=None, max_length=None)


def plan_remap(model: nn.Module, sites: list[RotarySite], bases: Bases, request: Request) -> RemapPlan | None:
    """Settle a request for every attention module; None where it is not for a remap scheme.

    Raises:
        ValueError: The request does not fit this checkpoint, or its attention is not understood.
    """
    if not is_remap(request.scheme):
        return None
    if any(weight.is_meta for weight in model.parameters()) and not _offloaded(model):
        raise ValueError(
            "this model is on the meta device, and how its attention is rotated is found out by reading a token: patch "
            "it when its weights are loaded"
        )
    schemes: dict[tuple[nn.Module, str], LayerRequest] = {}
    requests: dict[int, LayerRequest] = {}
    for live, base in bases.configs:
        own = [site for site in sites if site.config is live or site.name in bases.copied]
        for kind in asked_layer_types(base, own, request):
            for site in own:
                for buffer, of_kind in frequency_buffers(site.module).items():
                    if of_kind == kind:
                        asked = settle(bases.of_site[site.name], kind, request)
                        _check_frequencies(site, asked)
                        schemes[site.module, buffer] = asked
                        requests.setdefault(id(live), asked)
    homes: dict[nn.Module, list[RotarySite]] = {}
    for site in sites:
        homes.setdefault(home_of(model, site), []).append(site)
    found = {home: _ask(home, own) for home, own in homes.items()}
    planned = [_home(home, own, found[home], schemes) for home, own in homes.items()]
    if not any(one.reached for one in planned):
        raise ValueError(
            _nothing_to_do(type(model).__name__, [one for each in found.values() for one in each.values()])
        )
    return RemapPlan(planned, requests)


def _ask(home: nn.Module, sites: list[RotarySite]) -> dict[str, Found]:
    try:
        found = find_attention(home, sites)
        check_law(home, sites, found)
    except ElsewhereError:
        raise
    except Exception as error:  # whatever a model needs besides tokens
        raise ValueError(
            f"{type(home).__name__} could not be asked how its attention is rotated ({type(error).__name__}: {error})"
        ) from error
    return found


def _home(
    home: nn.Module,
    sites: list[RotarySite],
    found: dict[str, Found],
    asked: dict[tuple[nn.Module, str], LayerRequest],
) -> RemappedHome:
    layers: dict[nn.Module, RemappedLayer | None] = {}
    for name, one in found.items():
        of_layer = asked.get((one.layout.rotary, one.layout.buffer))
        if of_layer is None or not one.causal:
            continue
        if one.window is None or one.window > of_layer.rope.original_max_position_embeddings:
            _check_arguments(name, one)
            layers[home.get_submodule(name)] = _layer(one, of_layer)
    alike: dict[RemappedLayer, RemappedLayer] = {}  # one object for all, so that a step sees at once that they are
    moved = {module: alike.setdefault(layer, layer) for module, layer in layers.items() if layer is not None}
    return RemappedHome(home, [site.module for site in sites], moved, bool(layers))


def _nothing_to_do(name: str, found: list[Found]) -> str:
    windows = [one.window for one in found if one.causal and one.window is not None]
    told = "no causal layer gives rotated keys to an attention function of Transformers"
    if windows:
        told = f"every layer that rotates sees a window of {min(windows)} tokens, within the trained length"
    return f"{name} has no attention to remap: {told}"


def _layer(found: Found, asked: LayerRequest) -> RemappedLayer | None:
    """What an attention module is to know; None where every query sees every key as before."""
    scheme = asked.scheme
    assert isinstance(scheme, Remap)
    bands = scheme.bands(asked.rope)
    start = first_moved(bands)
    return None if start is None else RemappedLayer(found.layout, bands, start, scheme.score_scale(asked.rope))


def _check_arguments(name: str, found: Found) -> None:
    given = [key for key in NOT_TAKEN if found.others.get(key) is not None]
    if given:
        raise ValueError(
            f"{name} gives its attention function {', '.join(given)}, which attention at remapped positions cannot "
            "take into account; use a frequency scheme"
        )


def _check_frequencies(site: RotarySite, asked: LayerRequest) -> None:
    scheme = asked.scheme
    assert isinstance(scheme, Remap)
    if asked.rope.rope_type in ("dynamic", "longrope") and scheme.over is None:
        raise ValueError(
            f"this checkpoint changes its frequencies with the length of a call (rope_type {asked.rope.rope_type!r}): "
            "a remap scheme needs frequencies that stay; pass on_scaled='replace', or over= a frequency scheme"
        )


def _offloaded(model: nn.Module) -> bool:
    return any(hasattr(module, "_hf_hook") for module in model.modules())
