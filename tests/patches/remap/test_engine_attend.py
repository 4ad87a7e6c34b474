"""Attention by tiles and by rows against the O(n²) reference that rotates every pair on its own."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from rope_scaling.patches.remap.engine import Visible, attend
from tests.patches.remap.engine_cases import BANDS, CLOSE, Case, case, self_extend

PAPERS = BANDS["self-extend, the paper's"]


def length_of(name: str) -> int:
    return {"string": 45, "string, the paper's": 45}.get(name, 301 if "long" in name else 93)


def causal(given: Case, heads: int = 1) -> Visible:
    """Plain causality said by a mask of several heads, which nothing but rows takes."""
    tokens = given.key.shape[2]
    index = torch.arange(tokens)[None]
    return Visible(torch.ones(1, heads, tokens, tokens, dtype=torch.bool).tril(), index, index)


def by_tiles(given: Case, bands: object, **options: object) -> Tensor:
    return attend(given.query, given.key, given.value, bands, given.pairs, **options)  # type: ignore[arg-type]


def by_rows(given: Case, bands: object, **options: object) -> Tensor:
    return by_tiles(given, bands, visible=causal(given, given.query.shape[1]), **options)


def assert_close(ours: Tensor, expected: Tensor, close: float = CLOSE) -> None:
    assert ours.shape == expected.shape
    assert (ours - expected).abs().max() <= close


@pytest.mark.parametrize("name", BANDS)
def test_every_scheme_is_its_reference(name: str) -> None:
    given = case(length_of(name))
    expected = given.reference(BANDS[name])
    assert_close(by_tiles(given, BANDS[name]), expected)
    assert_close(by_rows(given, BANDS[name]), expected)


@pytest.mark.parametrize("name", BANDS)
def test_chunks_of_queries_are_rows_of_the_whole(name: str) -> None:
    tokens = length_of(name)
    given = case(tokens, rows=1)
    expected = given.reference(BANDS[name])
    for first, last in ((0, 19), (19, 20), (20, tokens // 2 + 1), (tokens // 2 + 1, tokens)):
        query, key, value = given.query[:, :, first:last], given.key[:, :, :last], given.value[:, :, :last]
        assert_close(attend(query, key, value, BANDS[name], given.pairs), expected[:, first:last])


@pytest.mark.parametrize("way", [by_tiles, by_rows])
@pytest.mark.parametrize("heads", [(1, 1), (4, 4), (6, 3), (8, 1)])
def test_heads_share_keys(way: object, heads: tuple[int, int]) -> None:
    given = case(61, heads=heads[0], key_heads=heads[1])
    assert_close(way(given, PAPERS), given.reference(PAPERS))  # type: ignore[operator]


@pytest.mark.parametrize("way", [by_tiles, by_rows])
@pytest.mark.parametrize(
    "shape",
    [
        {"rotary_dim": 6},
        {"rotary_dim": 6, "start": 10},
        {"rotary_dim": 8, "start": 3},
        {"interleaved": True},
        {"interleaved": True, "rotary_dim": 6, "start": 10},
        {"value_dims": 5},
        {"value_dims": 24},
        {"dims": 17, "value_dims": 3},
    ],
    ids=str,
)
def test_any_layout_of_pairs_and_any_width_of_values(way: object, shape: dict[str, int]) -> None:
    given = case(61, **shape)  # type: ignore[arg-type]
    place = {"interleaved": given.pairs.interleaved, "start": given.pairs.start}
    assert_close(way(given, PAPERS), given.reference(PAPERS, **place))  # type: ignore[operator]


@pytest.mark.parametrize("way", [by_tiles, by_rows])
def test_pairs_that_turn_the_other_way(way: object) -> None:
    there, back = case(61), case(61, sense=-1)
    mirrored = torch.cat((torch.ones(8), -torch.ones(8)))  # turning (x, -y) back is turning (x, y) there, mirrored
    assert_close(back.query, rotated_mirror(there, mirrored), 1e-6)
    ours = way(Case(back.plain, back.query, back.key, back.value, back.pairs), PAPERS)  # type: ignore[operator]
    mirror = (there.plain[0] * mirrored, there.plain[1] * mirrored)
    assert_close(ours, Case(mirror, there.query, there.key, there.value, there.pairs).reference(PAPERS))


def rotated_mirror(there: Case, mirrored: Tensor) -> Tensor:
    from tests.patches.remap.engine_cases import rotated

    return (rotated(there.plain[0] * mirrored, torch.arange(61), there.pairs) * mirrored).float()


@pytest.mark.parametrize("way", [by_tiles, by_rows])
def test_scores_are_scaled_as_asked(way: object) -> None:
    given = case(61)
    assert_close(way(given, PAPERS, scaling=0.7), given.reference(PAPERS, scaling=0.7))  # type: ignore[operator]


@pytest.mark.parametrize("way", [by_tiles, by_rows])
def test_a_softcap_bends_the_scores_before_the_softmax(way: object) -> None:
    given = case(61)
    scores = given.scores(PAPERS)
    capped = (0.6 * (scores / 0.6).tanh()).masked_fill(scores == -torch.inf, -torch.inf)
    expected = (capped.softmax(-1) @ given.values()).transpose(1, 2)
    assert_close(way(given, PAPERS, softcap=0.6), expected)  # type: ignore[operator]


@pytest.mark.parametrize("way", [by_tiles, by_rows])
@pytest.mark.parametrize("softcap", [None, 0.6])
def test_sinks_take_their_share_and_give_nothing(way: object, softcap: float | None) -> None:
    given = case(61)
    sinks = torch.tensor([-30.0, 0.0, 1.0, 30.0])
    scores = given.scores(PAPERS)
    if softcap is not None:
        scores = (softcap * (scores / softcap).tanh()).masked_fill(scores == -torch.inf, -torch.inf)
    beside = torch.cat((scores, sinks.double()[:, None, None].expand(2, 4, 61, 1)), dim=-1).softmax(-1)[..., :-1]
    expected = (beside @ given.values()).transpose(1, 2)
    assert_close(way(given, PAPERS, sinks=sinks, softcap=softcap), expected)  # type: ignore[operator]


@pytest.mark.parametrize("way", [by_tiles, by_rows])
def test_float64_is_kept(way: object) -> None:
    given = case(61, dtype=torch.float64)
    ours = way(given, PAPERS)  # type: ignore[operator]
    assert ours.dtype == torch.float64
    assert_close(ours, given.reference(PAPERS), 1e-12)


@pytest.mark.parametrize("way", [by_tiles, by_rows])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_costs_little_more_than_attention_in_it(way: object, dtype: torch.dtype) -> None:
    given = case(301, dims=64, rotary_dim=64, value_dims=64, dtype=dtype)
    bands = self_extend(70, 3)
    ours = way(given, bands)  # type: ignore[operator]
    assert ours.dtype == dtype
    native = scaled_dot_product_attention(given.query, given.key, given.value, is_causal=True, enable_gqa=True)
    usual = native.transpose(1, 2) - given.reference(self_extend(301, 3))  # a window that holds all: unscaled
    assert (ours - given.reference(bands)).square().mean().sqrt() <= 1.15 * usual.square().mean().sqrt()


def test_within_the_first_band_nothing_is_turned() -> None:
    given = case(20)
    native = scaled_dot_product_attention(given.query, given.key, given.value, is_causal=True, enable_gqa=True)
    assert torch.equal(by_tiles(given, BANDS["self-extend"]), native.transpose(1, 2))


def test_the_layout_of_memory_does_not_matter() -> None:
    given = case(61)
    one, two, three = (x.transpose(1, 2).contiguous().transpose(1, 2) for x in (given.query, given.key, given.value))
    assert torch.equal(attend(one, two, three, PAPERS, given.pairs), by_tiles(given, PAPERS))
    assert by_tiles(given, PAPERS).is_contiguous()


def test_vectors_need_not_be_dense() -> None:
    given = case(61)
    one, two, three = (x.mT.contiguous().mT for x in (given.query, given.key, given.value))
    assert one.stride(-1) != 1
    assert_close(attend(one, two, three, PAPERS, given.pairs), given.reference(PAPERS))


def test_no_query_is_no_attention() -> None:
    given = case(61)
    assert attend(given.query[:, :, :0], given.key, given.value, PAPERS, given.pairs).shape == (2, 0, 4, 16)


def test_under_autocast_it_computes_in_the_lower_precision_as_sdpa_does() -> None:
    given = case(61)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours = attend(given.query, given.key, given.value.bfloat16(), PAPERS, given.pairs)
    assert ours.dtype == torch.bfloat16
    assert_close(ours.float(), given.reference(PAPERS), 0.05)
