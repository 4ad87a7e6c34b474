"""Attention of one tile, whatever its shape, by a kernel that knows squares below the diagonal and full rectangles."""

from __future__ import annotations

import torch
from torch import Tensor

from rope_scaling.patches.remap.engine import kernels
from rope_scaling.patches.remap.engine.part import Gradients, Part
from rope_scaling.patches.remap.engine.tiles import Shape, Tile
from rope_scaling.remap import Region


def forward(tile: Tile, region: Region, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Part:
    """The queries, keys and values of the tile, turned as its band wants them."""
    dtype = torch.promote_types(query.dtype, key.dtype)
    query, key, value = (_dense(_reversed(one, tile).to(dtype)) for one in (query, key, value))
    found = kernels.forward(query, key, value, _seen(tile, region, query.device), scale)
    return Part(*(_reversed(one, tile) for one in found))


def backward(
    tile: Tile, region: Region, grad: Tensor, query: Tensor, key: Tensor, value: Tensor, whole: Part, scale: float
) -> Gradients:
    """What it adds to the gradients; `whole` is that of its queries over all their keys."""
    dtype = torch.promote_types(query.dtype, key.dtype)
    grad, query, key, value, out = (
        _dense(_reversed(one, tile).to(dtype)) for one in (grad, query, key, value, whole.out)
    )
    lse = _reversed(whole.lse, tile)
    found = kernels.backward(grad, query, key, value, Part(out, lse), _seen(tile, region, query.device), scale)
    return Gradients(*(_reversed(one, tile) for one in found))


def _reversed(vectors: Tensor, tile: Tile) -> Tensor:
    """The last token first, by which the triangle above the diagonal becomes the one below."""
    return vectors.flip(2) if tile.shape is Shape.UPPER else vectors


def _dense(vectors: Tensor) -> Tensor:
    """Kernels take the numbers of a vector to lie side by side, and do not look."""
    return vectors if vectors.stride(-1) == 1 else vectors.contiguous()


def _seen(tile: Tile, region: Region, device: torch.device) -> Tensor | bool:
    if tile.shape is not Shape.STRIP:
        return tile.shape is not Shape.FULL
    queries = torch.arange(tile.first, tile.last, device=device)
    return region.holds(queries[:, None], torch.arange(tile.start, tile.stop, device=device))
