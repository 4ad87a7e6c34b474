"""Random queries, keys and values, rotated by complex numbers, and what attention over them must come to."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rope_scaling.patches.remap.engine import RotatedPairs, key_turn, keys_for_one_query
from rope_scaling.remap import Affine, Band, Bands, Region, reference_attention, reference_scores
from rope_scaling.rope import Rope
from rope_scaling.schemes import make_scheme

TRAINED = 24
CLOSE = 1e-5


def turned_keys(key: Tensor, query_index: Tensor, key_index: Tensor, bands: Bands, pairs: RotatedPairs) -> Tensor:
    return keys_for_one_query(key, key_turn(query_index, key_index, bands, pairs), pairs)


def bands_of(name: str, length: int = TRAINED, **options: object) -> Bands:
    return make_scheme(name, options).bands(Rope.plain(1e4, 8, length))


BANDS: dict[str, Bands] = {
    "self-extend": bands_of("self-extend", factor=4),
    "self-extend, the paper's": bands_of("self-extend", factor=4, start=0, group=6, window=7),
    "rerope": bands_of("rerope", factor=4),
    "rerope, the paper's": bands_of("rerope", factor=4, start=0),
    "leaky-rerope": bands_of("leaky-rerope", factor=4),
    "dca": bands_of("dca", factor=4),
    "dca, the paper's": bands_of("dca", factor=4, start=0),
    "string": bands_of("string", factor=1.9),
    "string, the paper's": bands_of("string", factor=1.9, start=0),
    "lampe": bands_of("lampe", factor=4),
    "lampe, the paper's": bands_of("lampe", factor=4, start=0),
    "self-extend, long": bands_of("self-extend", 100, factor=4, window=70),
    "dca, long": bands_of("dca", 100, factor=4, start=0),
}
"""Long enough for triangles on both sides of a window; the others' strips are narrower than a tile."""


@dataclass(frozen=True)
class Case:
    """What an attention function is given, and the same before rotation.

    Attributes:
        plain: Queries and keys that nothing has rotated.
        query: (batch, heads, tokens, dims), rotated at their own indices.
        key: (batch, key heads, tokens, dims), likewise.
        value: (batch, key heads, tokens, value dims).
        pairs: By which they are.
    """

    plain: tuple[Tensor, Tensor]
    query: Tensor
    key: Tensor
    value: Tensor
    pairs: RotatedPairs

    def reference(
        self, bands: Bands, row: slice = slice(None), tokens: slice = slice(None), **options: float
    ) -> Tensor:
        """(batch, tokens, heads, value dims), float64, of one text."""
        query, key = (one[row, :, tokens] for one in self.plain)
        found = reference_attention(query, key, self.value[row, :, tokens], bands, *self._frequencies(), **options)
        return found.transpose(1, 2)

    def scores(self, bands: Bands) -> Tensor:
        """(batch, heads, tokens, tokens), float64."""
        return reference_scores(*self.plain, bands, self._frequencies()[0])

    def values(self) -> Tensor:
        """One for each head, float64."""
        return self.value.double().repeat_interleave(self.query.shape[1] // self.key.shape[1], dim=1)

    def _frequencies(self) -> tuple[list[float]]:
        return (self.pairs.inv_freq.double().tolist(),)


def rotated(vectors: Tensor, index: Tensor, pairs: RotatedPairs) -> Tensor:
    """`vectors`, (batch, heads, tokens, dims), at `index`, (tokens) or (batch, 1, tokens), float64."""
    done = vectors.double().clone()
    width = 2 * len(pairs.inv_freq)
    for pair, frequency in enumerate(pairs.inv_freq.double().tolist()):
        one = pairs.start + (2 * pair if pairs.interleaved else pair)
        other = one + (1 if pairs.interleaved else width // 2)
        turned = torch.complex(done[..., one], done[..., other]) * torch.exp(
            1j * pairs.sense * frequency * index.double()
        )
        done[..., one], done[..., other] = turned.real, turned.imag
    return done


def case(
    tokens: int,
    *,
    rows: int = 2,
    heads: int = 4,
    key_heads: int = 2,
    dims: int = 16,
    value_dims: int = 16,
    rotary_dim: int = 16,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
    start: int = 0,
    interleaved: bool = False,
    sense: int = 1,
) -> Case:
    """Texts of random vectors."""
    random = torch.Generator().manual_seed(seed)
    inv_freq = 1e4 ** (-torch.arange(0, rotary_dim, 2) / rotary_dim)
    pairs = RotatedPairs(inv_freq.float(), start, interleaved, sense)
    query = torch.randn(rows, heads, tokens, dims, generator=random)
    key = torch.randn(rows, key_heads, tokens, dims, generator=random)
    value = torch.randn(rows, key_heads, tokens, value_dims, generator=random).to(dtype)
    index = torch.arange(tokens)
    done = (rotated(one, index, pairs).to(dtype) for one in (query, key))
    return Case((query, key), *done, value, pairs)


def self_extend(window: int, group: int) -> Bands:
    """Of any length, from the first token on."""
    far = Affine(group, window - window // group, floor=True), Affine(group, floor=True)
    return Band(Region(farthest=window)), Band(Region(nearest=window), *far)
