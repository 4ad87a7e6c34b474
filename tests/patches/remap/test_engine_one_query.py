"""One query over a cache: turned keys under plain attention, SDPA's or ours, are the last row of the reference."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from rope_scaling.patches.remap.engine import attend, attend_one_query, key_turn, pairs
from rope_scaling.remap import Bands
from tests.patches.remap.engine_cases import BANDS, CLOSE, Case, case, turned_keys

PAPERS = BANDS["self-extend, the paper's"]


def index(tokens: int) -> Tensor:
    return torch.arange(tokens)[None]


def attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
    return scaled_dot_product_attention(query, key, value, mask, enable_gqa=True).transpose(1, 2)


def by_sdpa(given: Case, query: Tensor, last: Tensor, bands: Bands, mask: Tensor | None = None) -> Tensor:
    """Attention of `query`, of index `last`, (rows, 1), over all slots of a case."""
    key = turned_keys(given.key, last, index(given.key.shape[2]), bands, given.pairs)
    return attention(query, key, given.value, mask)


def by_ourselves(given: Case, query: Tensor, last: Tensor, bands: Bands, mask: Tensor | None = None) -> Tensor:
    turn = key_turn(last, index(given.key.shape[2]), bands, given.pairs)
    return attend_one_query(query, given.key, given.value, turn, given.pairs, mask=mask)


@pytest.fixture(params=[by_sdpa, by_ourselves, "blocks"], ids=["sdpa", "ours", "in blocks"])
def step(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Tensor]:
    """Attention of one query, whole or in blocks of 7 keys."""
    if not isinstance(request.param, str):
        return request.param  # type: ignore[no-any-return]
    monkeypatch.setattr(pairs, "_BLOCK", 7 * 2 * 2 * 16)
    return by_ourselves


@pytest.mark.parametrize("name", BANDS)
@pytest.mark.parametrize("tokens", [1, 23, 24, 25, 45])
def test_a_step_is_the_last_row_of_the_reference(step: Callable[..., Tensor], name: str, tokens: int) -> None:
    given = case(tokens)
    ours = step(given, given.query[:, :, -1:], index(tokens)[:, -1:], BANDS[name])
    assert (ours - given.reference(BANDS[name])[:, -1:]).abs().max() <= CLOSE


@pytest.mark.parametrize("shape", [{"rotary_dim": 6, "start": 10}, {"interleaved": True}, {"dims": 17}], ids=str)
def test_any_layout_of_pairs(step: Callable[..., Tensor], shape: dict[str, int]) -> None:
    given = case(61, **shape)  # type: ignore[arg-type]
    ours = step(given, given.query[:, :, -1:], index(61)[:, -1:], PAPERS)
    place = {"interleaved": given.pairs.interleaved, "start": given.pairs.start}
    assert (ours - given.reference(PAPERS, **place)[:, -1:]).abs().max() <= CLOSE  # type: ignore[arg-type]


@pytest.mark.parametrize("bias", [False, True])
def test_rows_of_unequal_length_and_empty_slots_behind_them(step: Callable[..., Tensor], bias: bool) -> None:
    lengths, slots = (61, 33), 70
    given = case(slots)
    last = torch.tensor(lengths)[:, None] - 1
    query = torch.stack([given.query[row, :, length - 1 : length] for row, length in enumerate(lengths)])
    seen = (index(slots) <= last)[:, None, None]
    mask = torch.zeros(seen.shape).masked_fill(~seen, torch.finfo(torch.float32).min) if bias else seen
    ours = step(given, query, last, PAPERS, mask)
    for row, length in enumerate(lengths):
        expected = given.reference(PAPERS, slice(row, row + 1), slice(0, length))[0, -1:]
        assert (ours[row] - expected).abs().max() <= CLOSE


def test_a_row_that_sees_nothing_is_zero_as_by_sdpa() -> None:
    given = case(61)
    mask = torch.ones(2, 1, 1, 61, dtype=torch.bool)
    mask[0] = False
    both = [way(given, given.query[:, :, -1:], index(61)[:, -1:], PAPERS, mask) for way in (by_sdpa, by_ourselves)]
    torch.testing.assert_close(*both, rtol=0, atol=CLOSE)
    assert not both[1][0].any()


def test_a_step_in_half_precision_is_nearer_to_the_reference_than_by_sdpa() -> None:
    given = case(200, dtype=torch.bfloat16, rows=8)
    expected = given.reference(PAPERS)[:, -1:]
    ways = (by_ourselves, by_sdpa)
    ours, sdpa = (way(given, given.query[:, :, -1:], index(200)[:, -1:], PAPERS) for way in ways)
    assert ours.dtype == torch.bfloat16
    assert (ours - expected).abs().mean() <= (sdpa - expected).abs().mean()


def test_many_tokens_turn_in_blocks_as_few_do_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    given = case(61)
    where = (index(61)[:, -1:], index(61), PAPERS, given.pairs)
    whole = turned_keys(given.key, *where)
    monkeypatch.setattr(pairs, "_BLOCK", 7 * 2 * 2 * 16)
    torch.testing.assert_close(turned_keys(given.key, *where), whole, rtol=0, atol=1e-6)


def test_keys_of_the_plain_band_are_left_to_the_last_bit() -> None:
    given = case(61)
    key = turned_keys(given.key, index(61)[:, -1:], index(61), PAPERS, given.pairs)
    assert torch.equal(key[:, :, -7:], given.key[:, :, -7:])
    assert not torch.equal(key[:, :, :-7], given.key[:, :, :-7])


def test_keys_in_half_precision_are_rounded_once() -> None:
    given = case(61, dtype=torch.bfloat16)
    where = (index(61)[:, -1:], index(61), PAPERS, given.pairs)
    wide = turned_keys(given.key.float(), *where)
    assert torch.equal(turned_keys(given.key, *where), wide.bfloat16())


def test_the_step_has_the_gradient_of_the_whole() -> None:
    given = case(61, dtype=torch.float64)
    found = []
    for step in (True, False):
        key = given.key.clone().requires_grad_()
        where = (index(61)[:, -1:], index(61), PAPERS, given.pairs)
        if step:
            out = attention(given.query[:, :, -1:], turned_keys(key, *where), given.value)
        else:
            out = attend(given.query[:, :, -1:], key, given.value, PAPERS, given.pairs)
        out.square().sum().backward()
        found.append(key.grad)
    torch.testing.assert_close(*found, rtol=0, atol=1e-6)
