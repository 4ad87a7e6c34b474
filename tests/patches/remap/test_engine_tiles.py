"""Tiles against the region that they cut, pair by pair."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rope_scaling.patches.remap.engine import tiles
from rope_scaling.patches.remap.engine.tiles import Shape, Tile, cut
from rope_scaling.remap import Region
from tests.patches.remap.engine_cases import self_extend


@st.composite
def regions(draw: st.DrawFn) -> Region:
    def bounds(most: int) -> tuple[int, int | None]:
        least = draw(st.integers(0, most))
        return least, draw(st.none() | st.integers(least + 1, least + most))

    first, last = bounds(60)
    nearest, farthest = bounds(40)
    chunk = draw(st.none() | st.integers(1, 30))
    closest, remotest = bounds(3) if chunk else (0, None)
    return Region(first, last, nearest, farthest, chunk, closest, remotest)


def pairs_of(tile: Tile, region: Region) -> torch.Tensor:
    query, key = torch.arange(tile.first, tile.last)[:, None], torch.arange(tile.start, tile.stop)
    i, j = query - tile.first, key - tile.start
    return {
        Shape.FULL: torch.ones_like(i * j, dtype=torch.bool),
        Shape.LOWER: j <= i,
        Shape.UPPER: j >= i,
        Shape.STRIP: region.holds(query, key),
    }[tile.shape]


@settings(max_examples=250, deadline=None)
@given(
    regions(), st.integers(1, 90), st.integers(0, 89), st.sampled_from([1, 7, 16, 1000]), st.sampled_from([0, 3, 64])
)
def test_tiles_are_the_region_and_no_pair_lies_in_two(
    region: Region, tokens: int, first: int, size: int, thin: int
) -> None:
    first = min(first, tokens - 1)
    i, j = torch.arange(tokens)[:, None], torch.arange(tokens)
    times = torch.zeros(tokens, tokens, dtype=torch.int64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiles, "_THIN", thin)
        blocks = cut((region,), first, tokens, size)
    assert [block.first for block in blocks] == [first, *(block.last for block in blocks[:-1])]
    for block in blocks:
        assert block.last - block.first <= size
        for tile in block.tiles:
            assert block.first <= tile.first < tile.last <= block.last
            held = pairs_of(tile, region)
            assert held.any(-1).all(), "a query without a key has no softmax"
            times[tile.first : tile.last, tile.start : tile.stop] += held
    expected = region.holds(i, j) & (i >= first)
    assert torch.equal(times, expected.long())


def test_attention_over_a_window_and_beyond_is_a_few_large_tiles() -> None:
    tokens, window, size = 16384, 2048, 4096
    blocks = cut(tuple(band.region for band in self_extend(window, 4)), 0, tokens, size)
    found = [tile for block in blocks for tile in block.tiles]
    assert Shape.STRIP not in {tile.shape for tile in found}
    assert len(found) <= 4 * tokens // window
    triangles = (tile for tile in found if tile.shape is not Shape.FULL)
    area = sum((tile.last - tile.first) * (tile.last - tile.first + 1) // 2 for tile in triangles)
    area += sum((tile.last - tile.first) * (tile.stop - tile.start) for tile in found if tile.shape is Shape.FULL)
    assert area == tokens * (tokens + 1) // 2


def test_a_text_within_one_band_is_one_tile() -> None:
    assert cut((Region(last=50), Region(first=50)), 0, 40, 4096)[0].tiles == (Tile(0, Shape.LOWER, 0, 40, 0, 40),)


def test_chunks_are_cut_at_their_ends() -> None:
    blocks = cut((Region(chunk=10, remotest=1), Region(chunk=10, closest=1)), 0, 30, 4096)
    assert [block.tiles for block in blocks] == [
        (Tile(0, Shape.LOWER, 0, 10, 0, 10),),
        (Tile(0, Shape.LOWER, 10, 20, 10, 20), Tile(1, Shape.FULL, 10, 20, 0, 10)),
        (Tile(0, Shape.LOWER, 20, 30, 20, 30), Tile(1, Shape.FULL, 20, 30, 0, 20)),
    ]
