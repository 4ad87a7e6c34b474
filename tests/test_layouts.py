"""Half-split and interleaved pairs: the permutation, its inverse, and models that cannot tell the difference."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from transformers import PreTrainedModel

from rope_scaling.layouts import Layout, convert_layout, convert_projection, join_pairs, split_pairs
from rope_scaling.rotary import apply_rotary
from tests.models import logits, tiny_config, tiny_model

LAYOUTS: list[Layout] = ["half-split", "interleaved"]
both = pytest.mark.parametrize("layout", LAYOUTS)
sizes = st.tuples(st.integers(1, 16), st.integers(0, 8)).map(lambda n: (2 * n[0], 2 * n[0] + n[1]))


def test_the_pairs_of_each_layout_are_those_of_its_models() -> None:
    x = torch.arange(8)
    assert [a.tolist() for a in split_pairs(x, "interleaved")] == [[0, 2, 4, 6], [1, 3, 5, 7]]  # GPT-J
    assert [a.tolist() for a in split_pairs(x, "half-split")] == [[0, 1, 2, 3], [4, 5, 6, 7]]  # Llama


@both
def test_joining_undoes_splitting(layout: Layout) -> None:
    x = torch.randn(3, 8)
    assert torch.equal(join_pairs(*split_pairs(x, layout), layout), x)


@both
@given(size=sizes)
def test_converting_there_and_back_changes_nothing(layout: Layout, size: tuple[int, int]) -> None:
    rotary_dim, head_dim = size
    other: Layout = "half-split" if layout == "interleaved" else "interleaved"
    x = torch.randn(2, head_dim)
    there = convert_layout(x, to=layout, rotary_dim=rotary_dim)
    assert torch.equal(convert_layout(there, to=other, rotary_dim=rotary_dim), x)
    assert torch.equal(there[:, rotary_dim:], x[:, rotary_dim:])
    assert sorted(there[0].tolist()) == sorted(x[0].tolist())


def test_converting_puts_partners_side_by_side() -> None:
    assert convert_layout(torch.tensor([0, 1, 2, 10, 11, 12, 7]), to="interleaved", rotary_dim=6).tolist() == [
        *[0, 10, 1, 11, 2, 12],
        7,
    ]


@given(size=sizes, heads=st.integers(1, 4), seed=st.integers(0, 99))
def test_a_converted_projection_projects_to_converted_heads(size: tuple[int, int], heads: int, seed: int) -> None:
    rotary_dim, head_dim = size
    random = torch.Generator().manual_seed(seed)
    weight = torch.randint(-9, 9, (heads * head_dim, 5), generator=random)  # integers: sums in any order agree
    bias = torch.randint(-9, 9, (heads * head_dim,), generator=random)
    x = torch.randint(-9, 9, (3, 5), generator=random)

    def projected(weight: Tensor, bias: Tensor) -> Tensor:
        return (x @ weight.T + bias).unflatten(-1, (heads, head_dim))

    to_interleaved: Any = {"to": "interleaved", "rotary_dim": rotary_dim}
    converted = projected(*(convert_projection(t, heads, **to_interleaved) for t in (weight, bias)))
    assert torch.equal(converted, convert_layout(projected(weight, bias), **to_interleaved))


def interleave_projections(model: PreTrainedModel, rotary_dim: int) -> None:
    """Every q_proj and k_proj with its biases, in place."""
    config = model.config
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for name, parameter in model.named_parameters():
        projection = name.split(".")[-2]
        if projection in heads:
            parameter.data = convert_projection(
                parameter.data, heads[projection], to="interleaved", rotary_dim=rotary_dim
            )


def rotate_interleaved(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, ...]:
    """In place of Transformers' `apply_rotary_pos_emb`: doubled tables in, (batch, tokens, rotary_dim)."""
    (cos, _), (sin, _) = split_pairs(cos[:, None], "half-split"), split_pairs(sin[:, None], "half-split")
    return tuple(apply_rotary(x, cos, sin, layout="interleaved") for x in (q, k))


@pytest.mark.parametrize(
    ("model_type", "rotary_dim", "changes"),
    [
        ("llama", 32, {}),
        ("llama", 32, {"attention_bias": True, "num_key_value_heads": 2}),
        ("qwen2", 32, {}),
        ("stablelm", 8, {"use_qkv_bias": True}),
    ],
    ids=["llama", "llama-biases", "qwen2", "stablelm-partial"],
)
def test_a_model_with_converted_projections_in_the_other_layout_gives_the_same_logits(
    model_type: str, rotary_dim: int, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model(tiny_config(model_type, **changes))
    for name, parameter in model.named_parameters():
        if name.endswith("_proj.bias"):
            torch.nn.init.normal_(parameter)  # zeros would not notice their order
    before = logits(model)
    interleave_projections(model, rotary_dim)
    wrong = logits(model)
    modeling = import_module(f"transformers.models.{model_type}.modeling_{model_type}")
    monkeypatch.setattr(modeling, "apply_rotary_pos_emb", rotate_interleaved)
    after = logits(model)
    assert (after - before).abs().max() < 1e-5
    assert (wrong - before).abs().max() > 1e-2  # weights of one layout are noise in the other


def test_an_unknown_layout_is_refused_by_name() -> None:
    wrong: Any = "neox"
    with pytest.raises(ValueError, match="layout must be one of 'half-split', 'interleaved', got 'neox'"):
        split_pairs(torch.zeros(4), wrong)
    with pytest.raises(ValueError, match="layout must be one of"):
        join_pairs(torch.zeros(4), torch.zeros(4), wrong)
    with pytest.raises(ValueError, match="to must be one of"):
        convert_layout(torch.zeros(4), to=wrong)


@pytest.mark.parametrize("rotary_dim", [0, 3, 10, -2])
def test_a_rotary_dim_that_a_head_cannot_have_is_refused(rotary_dim: int) -> None:
    with pytest.raises(ValueError, match=rf"at most head_dim \(8\), got {rotary_dim}"):
        convert_layout(torch.zeros(8), to="interleaved", rotary_dim=rotary_dim)


def test_an_odd_vector_is_refused() -> None:
    with pytest.raises(ValueError, match="must be even, got 5"):
        split_pairs(torch.zeros(5), "half-split")


@pytest.mark.parametrize("num_heads", [0, 3])
def test_a_head_count_that_does_not_divide_the_rows_is_refused(num_heads: int) -> None:
    with pytest.raises(ValueError, match=f"must divide the 8 rows of the projection, got {num_heads}"):
        convert_projection(torch.zeros(8, 4), num_heads, to="interleaved")
