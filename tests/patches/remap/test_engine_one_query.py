"""One query over a cache: turned keys under plain attention are the last row of the reference."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from rope_scaling.patches.remap.engine import attend, pairs
from tests.patches.remap.engine_cases import BANDS, CLOSE, case, turned_keys

PAPERS = BANDS["self-extend, the paper's"]


def index(tokens: int) -> Tensor:
    return torch.arange(tokens)[None]


def attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
    return scaled_dot_product_attention(query, key, value, mask, enable_gqa=True).transpose(1, 2)


@pytest.mark.parametrize("name", BANDS)
@pytest.mark.parametrize("tokens", [1, 23, 24, 25, 45])
def test_a_step_is_the_last_row_of_the_reference(name: str, tokens: int) -> None:
    given = case(tokens)
    key = turned_keys(given.key, index(tokens)[:, -1:], index(tokens), BANDS[name], given.pairs)
    ours = attention(given.query[:, :, -1:], key, given.value)
    assert (ours - given.reference(BANDS[name])[:, -1:]).abs().max() <= CLOSE


@pytest.mark.parametrize("shape", [{"rotary_dim": 6, "start": 10}, {"interleaved": True}, {"dims": 17}], ids=str)
def test_any_layout_of_pairs(shape: dict[str, int]) -> None:
    given = case(61, **shape)  # type: ignore[arg-type]
    key = turned_keys(given.key, index(61)[:, -1:], index(61), PAPERS, given.pairs)
    ours = attention(given.query[:, :, -1:], key, given.value)
    place = {"interleaved": given.pairs.interleaved, "start": given.pairs.start}
    assert (ours - given.reference(PAPERS, **place)[:, -1:]).abs().max() <= CLOSE  # type: ignore[arg-type]


def test_rows_of_unequal_length_and_empty_slots_behind_them() -> None:
    lengths, slots = (61, 33), 70
    given = case(slots)
    last = torch.tensor(lengths)[:, None] - 1
    key = turned_keys(given.key, last, index(slots), PAPERS, given.pairs)
    assert key.isfinite().all()
    query = torch.stack([given.query[row, :, length - 1 : length] for row, length in enumerate(lengths)])
    ours = attention(query, key, given.value, (index(slots) <= last)[:, None, None])
    for row, length in enumerate(lengths):
        expected = given.reference(PAPERS, slice(row, row + 1), slice(0, length))[0, -1:]
        assert (ours[row] - expected).abs().max() <= CLOSE


def test_many_tokens_turn_in_blocks_as_few_do_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    given = case(61)
    where = (index(61)[:, -1:], index(61), PAPERS, given.pairs)
    whole = turned_keys(given.key, *where)
    monkeypatch.setattr(pairs, "_BLOCK", 7)
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
