"""`torch.compile` of remapped models, whole graphs and few of them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch._dynamo.testing import CompileCounter

from tests.models import TRAINED
from tests.patches.remap.models import TEXT, apart, new_cache, remapped, whole

pytestmark = pytest.mark.slow
"""Tracing one forward takes seconds."""


@pytest.fixture(autouse=True)
def anew() -> None:
    torch._dynamo.reset()


def compiled(model: Any) -> tuple[Any, CompileCounter]:
    """The model in whole graphs, and how many of them."""
    graphs = CompileCounter()  # type: ignore[no-untyped-call]
    return torch.compile(model, fullgraph=True, backend=graphs), graphs


def test_a_text_within_the_trained_length_and_one_beyond_are_two_graphs() -> None:
    model = remapped()
    fast, graphs = compiled(model)
    for count in (TEXT.shape[1], TRAINED // 2, TEXT.shape[1] - 8, TRAINED // 2 + 8):
        assert apart(whole(fast, TEXT[:, :count]), whole(model, TEXT[:, :count])) < 1e-5
    assert graphs.frame_count <= 4, "one more of each kind where a size turns out to change"


@torch.no_grad()
def test_steps_over_a_static_cache_are_one_graph() -> None:
    model = remapped()
    wanted, cache = whole(model), new_cache(model, "static")
    model(TEXT[:, : TRAINED - 4], past_key_values=cache, use_cache=True)
    fast, graphs = compiled(model)
    for at in range(TRAINED - 4, TRAINED + 4):
        where = torch.tensor([[at]])
        step = fast(TEXT[:, at : at + 1], past_key_values=cache, use_cache=True, position_ids=where).logits
        assert apart(step, wanted[:, at : at + 1]) < 1e-5
    assert graphs.frame_count == 1


def test_gradients_are_those_of_the_model_as_it_is() -> None:
    model = remapped()
    weight = model.get_submodule("model.layers.0.self_attn.q_proj").weight
    assert isinstance(weight, torch.Tensor)
    found = []
    for one in (model, torch.compile(model, fullgraph=True, backend="aot_eager")):
        model.zero_grad()
        one(TEXT, labels=TEXT, use_cache=False).loss.backward()
        assert weight.grad is not None
        found.append(weight.grad.clone())
    assert apart(*found) < 1e-5 < found[0].abs().max()
