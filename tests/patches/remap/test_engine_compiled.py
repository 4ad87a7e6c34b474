"""One graph for every length, without a break."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend

from rope_scaling.patches.remap.engine import Visible, attend
from tests.patches.remap.engine_cases import BANDS, CLOSE, case, turned_keys

NAMES = ["self-extend", "self-extend, the paper's", "dca, the paper's", "lampe"]


@pytest.fixture(autouse=True)
def _fresh_compiler() -> Iterator[None]:
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def compiled(function: Any, dynamic: bool | None = True, backend: str = "eager") -> tuple[Any, Any]:
    counter = CompileCounterWithBackend(backend)
    return torch.compile(function, fullgraph=True, dynamic=dynamic, backend=counter), counter


@pytest.mark.parametrize("name", NAMES)
def test_attention_is_one_graph_for_every_length(name: str) -> None:
    pairs = case(2).pairs
    function, counter = compiled(lambda q, k, v: attend(q, k, v, BANDS[name], pairs))
    for tokens in (30, 61, 93):
        given = case(tokens)
        ours = function(given.query[:, :, 5:], given.key, given.value)
        assert (ours - given.reference(BANDS[name])[:, 5:]).abs().max() <= CLOSE
    assert counter.frame_count == 1


@pytest.mark.parametrize("name", NAMES)
def test_a_step_is_one_graph_for_every_length(name: str) -> None:
    pairs = case(2).pairs

    def step(key: Tensor, query_index: Tensor, key_index: Tensor) -> Tensor:
        return turned_keys(key, query_index, key_index, BANDS[name], pairs)

    function, counter = compiled(step)
    for tokens in (30, 61, 93):
        given, index = case(tokens), torch.arange(tokens)[None]
        ours = function(given.key, index[:, -1:], index)
        assert (ours - step(given.key, index[:, -1:], index)).abs().max() <= 1e-6
    assert counter.frame_count == 1


def test_a_masked_call_is_a_graph_without_a_break() -> None:
    given, bands = case(40), BANDS["self-extend"]
    index = torch.arange(40)[None]

    def masked(query: Tensor, key: Tensor, value: Tensor, seen: Tensor) -> Tensor:
        return attend(query, key, value, bands, given.pairs, visible=Visible(seen, index, index))

    function, _ = compiled(masked, dynamic=False)
    seen = torch.ones(1, 1, 40, 40, dtype=torch.bool).tril()
    ours = function(given.query, given.key, given.value, seen)
    assert (ours - given.reference(bands)).abs().max() <= CLOSE


def test_training_compiled_has_the_gradients_of_training_eagerly() -> None:
    given, bands = case(61), BANDS["self-extend"]
    function, _ = compiled(lambda q, k, v: attend(q, k, v, bands, given.pairs), backend="aot_eager")
    found = []
    for way in (function, lambda q, k, v: attend(q, k, v, bands, given.pairs)):
        leaves = [one.clone().requires_grad_() for one in (given.query, given.key, given.value)]
        way(*leaves).square().sum().backward()
        found.append([leaf.grad for leaf in leaves])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=CLOSE)
