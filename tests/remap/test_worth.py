"""The embedded checkpoint past its 512 tokens, under every remap scheme."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from rope_scaling.eval.bins import at
from rope_scaling.eval.embedded import EMBEDDED
from rope_scaling.eval.perplexity import token_nll, window_nll
from rope_scaling.eval.run import load
from rope_scaling.patches import patched
from rope_scaling.schemes import SCHEMES, Remap

TOKENS = 960
"""As far as all of them reach: `string` stops at 992."""


@pytest.fixture(scope="module")
def loaded() -> tuple[Any, Tensor]:
    model, tokenizer = load(str(EMBEDDED["tiny-llama-512"]), "float32", "cpu")
    text = EMBEDDED["macbeth"].read_text(encoding="utf-8")[:8000]
    return model, torch.tensor(tokenizer(text)["input_ids"][:TOKENS])


@pytest.fixture(scope="module")
def unpatched(loaded: tuple[Any, Tensor]) -> Tensor:
    return token_nll(*loaded)


@pytest.fixture(scope="module")
def window(loaded: tuple[Any, Tensor]) -> float:
    """Nats per token past L of the unpatched model that sees the last L tokens only."""
    return window_nll(*loaded, length=512, stride=64, bos=True).mean().item()


@pytest.fixture
def read(loaded: tuple[Any, Tensor]) -> Callable[[str], Tensor]:
    def under(scheme: str) -> Tensor:
        model, text = loaded
        with patched(model, scheme, max_length=TOKENS):
            return token_nll(model, text)

    return under


@pytest.mark.parametrize("name", [name for name, scheme in SCHEMES.items() if issubclass(scheme, Remap)])
def test_it_reads_on_where_the_unpatched_model_breaks_and_leaves_what_is_within(
    name: str, read: Callable[[str], Tensor], unpatched: Tensor, window: float
) -> None:
    found = read(name)
    assert torch.equal(found[:511], unpatched[:511])
    assert at(unpatched, 512).mean() > window + 0.3  # nats; else this text could not tell anything
    assert at(found, 512).mean() < window + 0.02


def test_a_remap_predicts_better_than_ntk_and_than_cutting_the_text(
    read: Callable[[str], Tensor], window: float
) -> None:
    found = at(read("leaky-rerope"), 512).mean()
    assert found < at(read("ntk"), 512).mean()
    assert found < window
