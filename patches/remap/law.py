"""The proof that a model can be remapped: with every distance made zero, nothing depends on where its tokens stand."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from rope_scaling.patches.discover import RotarySite
from rope_scaling.patches.remap.ask import ElsewhereError, at_positions, quietly, read_tokens, viewed
from rope_scaling.patches.remap.hooks import hook_home, hook_rotary
from rope_scaling.patches.remap.layer import LAYER, RemappedLayer
from rope_scaling.patches.remap.probe import Found
from rope_scaling.remap import Band, Bands, Constant, Region

_NOWHERE: Bands = (Band(Region(), Constant(0.0), Constant(0.0)),)
_NEAR, _FAR = [0, 1, 2, 3], [0, 7, 16, 27]
"""Positions of four tokens, below any trained length."""
_OF_THE_EFFECT = {torch.float64: 1e-3, torch.float32: 1e-2}
"""What rounding may leave of the effect of other positions; measured on SmolLM2: 3e-6."""
_ROUNDED = 0.25
"""The same in half precision, where turning keys further rounds them once more; measured on SmolLM2: 0.05."""
_EXACT = 1e-5


def check_law(home: nn.Module, sites: list[RotarySite], found: dict[str, Found]) -> None:
    """Try a home whose attention sees every distance as zero.

    Raises:
        ElsewhereError: Something in it looks at positions outside of the attention that was found.
    """
    with quietly(home):
        near, far = (_read(home, sites, where, len(where)) for where in (_NEAR, _FAR))
        effect = (near - far).norm()
        with viewed(home), _Nowhere(home, sites, found):
            near, far = (_read(home, sites, where, 2) for where in (_NEAR, _FAR))
        left = (near - far).norm()
    allowed = _OF_THE_EFFECT.get(near.dtype, _ROUNDED)
    if left > torch.maximum(effect * allowed, near.norm() * _EXACT):
        raise ElsewhereError(
            f"{type(home).__name__} compares rotated queries and keys by code of its own as well, outside of "
            f"Transformers' attention interface{_suspects(home, found)}: remapped positions would not reach it; use a "
            "frequency scheme"
        )


def _read(home: nn.Module, sites: list[RotarySite], where: list[int], count: int) -> Tensor:
    """What a home makes of four tokens, `count` at a time; all at once where it has no cache."""
    outputs: list[Tensor] = []
    cache: Any = None
    first = 0
    while first < len(where):
        part = where[first : first + count]
        given: dict[str, Any] = {} if cache is None else {"past_key_values": cache}
        with at_positions(sites, part):
            made = read_tokens(home, len(part), use_cache=True, **given)
        cache = getattr(made, "past_key_values", None)
        if cache is None and count < len(where):
            return _read(home, sites, where, len(where))
        outputs.append(made[0])
        first += count
    return torch.cat(outputs, dim=1)


class _Nowhere:
    """Within the block every distance is zero."""

    def __init__(self, home: nn.Module, sites: list[RotarySite], found: dict[str, Found]) -> None:
        self.home, self.sites = home, sites
        self.layers = {home.get_submodule(name): RemappedLayer(one.layout, _NOWHERE, 0) for name, one in found.items()}

    def __enter__(self) -> None:
        self.held = {module: vars(module).get(LAYER) for module in self.layers}
        for module, layer in self.layers.items():
            vars(module)[LAYER] = layer
        self.handles = hook_home(self.home) + [one for site in self.sites for one in hook_rotary(site.module)]

    def __exit__(self, *_: object) -> None:
        for handle in self.handles:
            handle.remove()
        for module, layer in self.held.items():
            vars(module).pop(LAYER)
            if layer is not None:
                vars(module)[LAYER] = layer


def _suspects(home: nn.Module, found: dict[str, Found]) -> str:
    """Modules that are called attention and were not seen to be."""
    own = [
        f"{name} ({type(module).__name__})"
        for name, module in home.named_modules()
        if "Attention" in type(module).__name__ and name not in found and not any(n.startswith(name) for n in found)
    ]
    return f", it seems in {', '.join(own[:2])}" if own else ""
