"""Positions that do not simply count up: padding, packing, and what a caller says."""

from __future__ import annotations

import pytest
import torch
from transformers import PreTrainedModel

from rope_scaling import patch_model
from tests.models import ARCHITECTURES, TRAINED, logits, tiny_model, tokens
from tests.patches.twins import FACTOR, patched_yarn, twin_of_patched

PADDING = 30
LONG, SHORT = tokens(2 * TRAINED, seed=2), tokens(2 * TRAINED - PADDING, seed=3)
IMPLEMENTATIONS = ["eager", "sdpa"]


def padded(side: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Both texts in one batch: ids, mask and position ids, each (2, 128)."""
    filler = torch.zeros(1, PADDING, dtype=torch.long)
    row = torch.cat([filler, SHORT] if side == "left" else [SHORT, filler], dim=1)
    ids = torch.cat([LONG, row])
    mask = (ids != 0).long()
    return ids, mask, (mask.cumsum(-1) - 1).clamp(min=0)


@torch.no_grad()
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("model_type", ARCHITECTURES)
def test_a_padded_row_gives_the_logits_of_the_unpadded_one(model_type: str, side: str, implementation: str) -> None:
    model = patch_model(tiny_model(model_type), "yarn", factor=FACTOR)
    model.set_attn_implementation(implementation)
    ids, mask, positions = padded(side)
    both = model(ids, attention_mask=mask, position_ids=positions, use_cache=False).logits
    text = slice(PADDING, None) if side == "left" else slice(0, -PADDING)
    assert torch.allclose(both[:1], logits(model, LONG), atol=1e-5)
    assert torch.allclose(both[1:, text], logits(model, SHORT), atol=1e-5)


@pytest.mark.parametrize("cache", [None, "static"])
@pytest.mark.parametrize("model_type", ["llama", "phi3", "gpt_neox"])
def test_left_padded_generation_is_that_of_each_row_alone(model_type: str, cache: str | None) -> None:
    model = patch_model(tiny_model(model_type), "yarn", factor=FACTOR)
    ids, mask, _ = padded("left")

    def new(prompt: torch.Tensor, prompt_mask: torch.Tensor) -> torch.Tensor:
        return model.generate(
            prompt, attention_mask=prompt_mask, max_new_tokens=16, min_new_tokens=16, do_sample=False, pad_token_id=0,
            cache_implementation=cache,
        )[:, prompt.shape[1] :]  # fmt: skip

    both = new(ids, mask)
    assert torch.equal(both[:1], new(LONG, torch.ones_like(LONG)))
    assert torch.equal(both[1:], new(SHORT, torch.ones_like(SHORT)))


@torch.no_grad()
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("model_type", ["llama", "mistral", "qwen3", "phi3", "smollm3", "granite"])
def test_packed_texts_give_the_logits_of_each_alone(model_type: str, implementation: str) -> None:
    model = patch_model(tiny_model(model_type), "yarn", factor=FACTOR)
    model.set_attn_implementation(implementation)
    positions = torch.cat([torch.arange(text.shape[1]) for text in (LONG, SHORT)])[None]
    both = model(torch.cat([LONG, SHORT], dim=1), position_ids=positions, use_cache=False).logits
    assert torch.allclose(both[:, : LONG.shape[1]], logits(model, LONG), atol=1e-5)
    assert torch.allclose(both[:, LONG.shape[1] :], logits(model, SHORT), atol=1e-5)


POSITIONS = {
    "far": torch.arange(2 * TRAINED)[None] + 100,
    "with gaps": 2 * torch.arange(2 * TRAINED)[None],
    "one for all": torch.zeros(1, 2 * TRAINED, dtype=torch.long),
    "of each row": torch.stack([torch.arange(2 * TRAINED), 3 * torch.arange(2 * TRAINED)]),
    "int32": torch.arange(2 * TRAINED, dtype=torch.int32)[None] + 5,
}


@torch.no_grad()
def placed(model: PreTrainedModel, positions: torch.Tensor) -> torch.Tensor:
    ids = LONG.expand(positions.shape[0], -1)
    mask = torch.ones_like(ids)  # positions that stand still are not taken for packed texts
    out: torch.Tensor = model(ids, attention_mask=mask, position_ids=positions, use_cache=False).logits
    return out


@pytest.mark.parametrize("which", POSITIONS)
@pytest.mark.parametrize("model_type", ["llama", "qwen3", "gpt_neox"])
def test_positions_of_the_callers_own_are_taken_as_the_native_twin_takes_them(model_type: str, which: str) -> None:
    model, positions = patched_yarn(model_type), POSITIONS[which]
    ours = placed(model, positions)
    assert torch.equal(ours, placed(twin_of_patched(model_type), positions))
    if which in ("far", "int32"):  # only distances count, the yarn one included
        assert torch.allclose(ours, logits(model, LONG), atol=1e-4)
    else:
        assert not torch.allclose(ours[-1], logits(model, LONG)[0], atol=1e-2)


@torch.no_grad()
def test_a_row_does_not_depend_on_its_neighbours_positions() -> None:
    model, positions = patched_yarn(), POSITIONS["of each row"]
    both = placed(model, positions)
    for row in range(2):
        assert torch.allclose(both[row], placed(model, positions[row : row + 1])[0], atol=1e-5)
