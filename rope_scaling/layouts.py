"""The two layouts of pairs within a head, and the way from one to the other for vectors and for weights."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor

Layout: TypeAlias = Literal["half-split", "interleaved"]
"""Half-split: dimension i turns with i + rotary_dim / 2 (GPT-NeoX, Llama). Interleaved: 2i with 2i + 1 (RoFormer,
GPT-J, GLM).

The two are one permutation of dimensions apart: neither can do what the other cannot, and weights trained in one are
noise in the other.
"""


def split_pairs(x: Tensor, layout: Layout) -> tuple[Tensor, Tensor]:
    """First and second members of the pairs of (..., rotary_dim), each (..., rotary_dim / 2)."""
    check_layout("layout", layout)
    if x.shape[-1] % 2:
        raise ValueError(f"the last dimension must be even, got {x.shape[-1]}: pairs are rotated")
    if layout == "interleaved":
        return x[..., 0::2], x[..., 1::2]
    half = x.shape[-1] // 2
    return x[..., :half], x[..., half:]


def join_pairs(first: Tensor, second: Tensor, layout: Layout) -> Tensor:
    """Members of pairs, each (..., rotary_dim / 2), back in place: (..., rotary_dim).

    `join_pairs(cos, cos, layout)` is the doubled table that Transformers' attention takes.
    """
    check_layout("layout", layout)
    if layout == "interleaved":
        return torch.stack((first, second), dim=-1).flatten(-2)
    return torch.cat((first, second), dim=-1)


def convert_layout(x: Tensor, *, to: Layout, rotary_dim: int | None = None) -> Tensor:
    """Vectors of the other layout, (..., head_dim), in layout `to`; `to` the other one again undoes it.

    Also for what belongs to the dimensions of a head: the weight of a norm on queries or keys, for one.

    Args:
        x: (..., head_dim), its first `rotary_dim` dimensions rotated.
        to: The layout wanted.
        rotary_dim: Dimensions that are rotated; the others stay. All unless given.
    """
    check_layout("to", to)
    head_dim = x.shape[-1]
    rotary_dim = head_dim if rotary_dim is None else rotary_dim
    if rotary_dim % 2 or not 0 < rotary_dim <= head_dim:
        raise ValueError(f"rotary_dim must be even, above 0 and at most head_dim ({head_dim}), got {rotary_dim}")
    source: Layout = "half-split" if to == "interleaved" else "interleaved"
    first, second = split_pairs(x[..., :rotary_dim], source)
    return torch.cat((join_pairs(first, second, to), x[..., rotary_dim:]), dim=-1)


def convert_projection(weight: Tensor, num_heads: int, *, to: Layout, rotary_dim: int | None = None) -> Tensor:
    """The weight or bias of a query or key projection, its heads in layout `to`; undone like `convert_layout`.

    Queries and keys permuted alike have the dot products they had: a model whose projections are converted and whose
    attention rotates in layout `to` gives the same logits. Values and the output projection stay.

    Args:
        weight: (num_heads · head_dim, hidden_size), or a bias (num_heads · head_dim,). Of a projection that makes more
            than queries or keys give the part that does.
        num_heads: `num_key_value_heads` for keys.
        to: The layout wanted.
        rotary_dim: Dimensions of a head that are rotated, its first ones. All unless given.
    """
    if num_heads < 1 or weight.shape[0] % num_heads:
        raise ValueError(f"num_heads must divide the {weight.shape[0]} rows of the projection, got {num_heads}")
    heads = weight.reshape(num_heads, -1, *weight.shape[1:]).movedim(1, -1)  # (num_heads, [hidden_size,] head_dim)
    return convert_layout(heads, to=to, rotary_dim=rotary_dim).movedim(-1, 1).flatten(0, 1)


def check_layout(name: str, layout: object) -> None:
    """A ValueError where `layout` is no layout."""
    if layout not in get_args(Layout):
        raise ValueError(f"{name} must be one of {', '.join(map(repr, get_args(Layout)))}, got {layout!r}")
