"""Training with remapped positions: gradients, activation checkpointing, dropout."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from tests.models import tokens
from tests.patches.remap.models import TEXT, remapped

PACKED = torch.cat((torch.arange(100), torch.arange(TEXT.shape[1] - 100)))[None]


def gradient(model: PreTrainedModel) -> Tensor:
    weight = model.get_submodule("model.layers.0.self_attn.q_proj").weight
    assert isinstance(weight, Tensor)
    assert weight.grad is not None
    return weight.grad


def test_gradients_are_those_of_finite_differences() -> None:
    model = remapped().double()
    ids, weight = TEXT[:, :100], model.get_submodule("model.layers.0.self_attn.q_proj").weight
    assert isinstance(weight, Tensor)
    model(ids, labels=ids).loss.backward()
    with torch.no_grad():
        direction, step = torch.randn_like(weight), 1e-3  # norms compute in float32
        losses = []
        for sign in (1, -2):
            weight.add_(direction, alpha=sign * step)
            losses.append(model(ids, labels=ids).loss.item())
    meant = (losses[0] - losses[1]) / (2 * step)
    assert (gradient(model) * direction).sum().item() == pytest.approx(meant, rel=5e-3)


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointed_activations_give_the_same_gradients(reentrant: bool) -> None:
    kept, again = remapped(), remapped().train()
    again.gradient_checkpointing_enable({"use_reentrant": reentrant})
    if reentrant:
        again.enable_input_require_grads()
    for model in (kept, again):  # two forwards before one backward: each is computed again at its own positions
        one = model(TEXT, labels=TEXT, use_cache=False).loss
        other = model(tokens(TEXT.shape[1], seed=3), position_ids=PACKED, labels=TEXT, use_cache=False).loss
        (one + other).backward()
    assert (gradient(kept) - gradient(again)).abs().max() < 1e-6 < gradient(kept).abs().max()


def test_dropout_in_attention_is_refused_past_the_trained_length() -> None:
    model = remapped(attention_dropout=0.5).train()
    model(TEXT[:, :40])
    with pytest.raises(ValueError, match="has no dropout"):
        model(TEXT)
    model.eval()(TEXT)
