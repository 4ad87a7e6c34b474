"""Gradients of the tiled and the general attention against the reference's autograd."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from rope_scaling.patches.remap.engine import RotatedPairs, attend
from rope_scaling.patches.remap.engine.coded import encode
from rope_scaling.remap import Bands, position_matrix
from tests.patches.remap.engine_cases import BANDS, case
from tests.patches.remap.test_engine_attend import causal

BEHIND = 20


def gradients(way: Callable[..., Tensor], leaves: list[Tensor], weights: Tensor) -> list[Tensor]:
    own = [leaf.double().clone().requires_grad_() for leaf in leaves]
    (way(*own) * weights).sum().backward()
    return [leaf.grad for leaf in own if leaf.grad is not None]


def expected(bands: Bands, pairs: RotatedPairs) -> Callable[..., Tensor]:
    """The reference, without the NaN of pairs that are not seen, which would reach all gradients."""

    def way(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        key, value = (one.repeat_interleave(query.shape[1] // key.shape[1], dim=1) for one in (key, value))
        places = position_matrix(bands, key.shape[2])[..., None] * pairs.inv_freq.double()
        q, k = (torch.complex(*one.chunk(2, -1)) for one in (query, key))
        turned = torch.einsum("bhip,bhjp,ijp->bhij", q, k.conj(), torch.exp(1j * places.nan_to_num()))
        scores = turned.real.masked_fill(places[..., 0].isnan(), -torch.inf) * query.shape[-1] ** -0.5
        return (scores.softmax(-1) @ value).transpose(1, 2)

    return way


def ours(bands: Bands, pairs: RotatedPairs, **options: object) -> Callable[..., Tensor]:
    def way(query: Tensor, key: Tensor, value: Tensor, sinks: Tensor | None = None) -> Tensor:
        last = torch.arange(key.shape[2])
        query = turn(query, last[key.shape[2] - query.shape[2] :], pairs)
        return attend(query, turn(key, last, pairs), value, bands, pairs, sinks=sinks, **options)  # type: ignore[arg-type]

    return way


def turn(vectors: Tensor, index: Tensor, pairs: RotatedPairs) -> Tensor:
    """Differentiable."""
    angle = index.double()[:, None] * pairs.inv_freq.double()
    done = torch.complex(*vectors.chunk(2, -1)) * torch.polar(torch.ones_like(angle), angle)
    return torch.cat((done.real, done.imag), dim=-1)


@pytest.mark.parametrize("name", BANDS)
@pytest.mark.parametrize("rows", [False, True])
def test_gradients_are_those_of_the_reference(name: str, rows: bool) -> None:
    given = case(45 if "string" in name else 151 if "long" in name else 93, heads=4, key_heads=2)
    leaves = [*given.plain, given.value]
    torch.testing.assert_close(
        expected(BANDS[name], given.pairs)(*(one.double() for one in leaves)), given.reference(BANDS[name])
    )
    weights = torch.randn((2, given.value.shape[2], 4, 16), dtype=torch.float64)
    options = {"visible": causal(given, 4)} if rows else {}
    found = gradients(ours(BANDS[name], given.pairs, **options), leaves, weights)
    for one, other in zip(found, gradients(expected(BANDS[name], given.pairs), leaves, weights), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", ["self-extend", "dca, the paper's"])
def test_gradients_of_a_chunk_of_queries_with_sinks_are_those_of_rows(name: str) -> None:
    given = case(93)
    leaves = [given.plain[0][:, :, BEHIND:], given.plain[1], given.value, torch.tensor([-1.0, 0.0, 1.0, 2.0])]
    weights = torch.randn(2, 93 - BEHIND, 4, 16, dtype=torch.float64)
    visible = causal(given, 4)
    rows = type(visible)(visible.mask[:, :, BEHIND:], visible.key_index[:, BEHIND:], visible.key_index)  # type: ignore[index]
    found = gradients(ours(BANDS[name], given.pairs), leaves, weights)
    others = gradients(ours(BANDS[name], given.pairs, visible=rows), leaves, weights)
    assert len(found) == 4
    for one, other in zip(found, others, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)


def test_gradcheck() -> None:
    given = case(40, rows=1, heads=2, key_heads=1, dims=4, rotary_dim=4, value_dims=3, dtype=torch.float64)
    leaves = [one.requires_grad_() for one in (given.query, given.key, given.value, torch.tensor([0.3, -0.2]).double())]

    def way(query: Tensor, key: Tensor, value: Tensor, sinks: Tensor) -> Tensor:
        return attend(query, key, value, BANDS["self-extend"], given.pairs, sinks=sinks)

    assert torch.autograd.gradcheck(way, leaves, fast_mode=True)


def test_the_operator_keeps_all_contracts_of_pytorch() -> None:
    given = case(40, rows=1, heads=2, key_heads=1)
    numbers, *offsets = encode(BANDS["self-extend"], torch.arange(40), torch.arange(40))
    tensors = [one.requires_grad_() for one in (given.query, given.key, given.value)]
    for sinks in (None, torch.zeros(2, requires_grad=True)):
        args = (*tensors, *offsets, given.pairs.inv_freq, numbers, 0, False, 1, 0.25, sinks)
        torch.library.opcheck(torch.ops.rope_scaling.remapped_attention.default, args)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_gradients_in_half_precision_are_near(dtype: torch.dtype) -> None:
    given = case(93, dtype=dtype)
    leaves = [one.requires_grad_() for one in (given.query, given.key, given.value)]
    attend(*leaves, BANDS["self-extend"], given.pairs).float().square().sum().backward()
    wide = [one.detach().float().requires_grad_() for one in leaves]
    attend(*wide, BANDS["self-extend"], given.pairs).square().sum().backward()
    for one, other in zip(leaves, wide, strict=True):
        assert one.grad is not None
        assert other.grad is not None
        assert one.grad.dtype == dtype
        assert (one.grad - other.grad).norm() <= 0.02 * other.grad.norm()
