"""GPT-J and CodeGen rotate by tables: scaled and lengthened ones, against closed forms."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from rope_scaling import YaRN, describe, patch_model, patched, unpatch_model
from tests.architectures.matrix import by_tables
from tests.architectures.shrink import TRAINED, tiny_config, tiny_model

TABLES = ["gptj", "codegen"]
DIM = 8
YARN = 0.1 * torch.log(torch.tensor(2.0, dtype=torch.float64)).item() + 1


@torch.no_grad()
def logits(model: PreTrainedModel, count: int) -> Tensor:
    ids = torch.randint(3, 97, (1, count), generator=torch.Generator().manual_seed(1))
    out: Tensor = model(ids, use_cache=False).logits
    return out


def tables(model: PreTrainedModel) -> list[Tensor]:
    return [buffer for name, buffer in model.named_buffers() if name.endswith("embed_positions")]


def closed_form(inv_freq: Tensor, factor: float = 1.0) -> Tensor:
    """(2 L, rotary_dim): sines, then cosines, in float64."""
    angles = torch.arange(2 * TRAINED, dtype=torch.float64)[:, None] * inv_freq
    return torch.cat((angles.sin(), angles.cos()), dim=1) * factor


def plain() -> Tensor:
    return 1e4 ** (-torch.arange(0, DIM, 2, dtype=torch.float64) / DIM)


def yarn() -> Tensor:
    """arXiv 2309.00071v2 with the ramp of the authors' code, written out."""
    at = [DIM * torch.log(torch.tensor(TRAINED / (turns * 2 * torch.pi))) / (2 * torch.log(torch.tensor(1e4)))
          for turns in (32.0, 1.0)]  # fmt: skip
    low, high = max(at[0].floor().item(), 0), min(at[1].ceil().item(), DIM - 1)
    ramp = ((torch.arange(DIM // 2, dtype=torch.float64) - low) / (max(high - low, 0.001))).clamp(0, 1)
    return plain() * (1 - ramp) + plain() / 2 * ramp


CASES = {
    "linear": (plain() / 2, 1.0),
    "ntk": ((1e4 * 2 ** (DIM / (DIM - 2))) ** (-torch.arange(0, DIM, 2, dtype=torch.float64) / DIM), 1.0),
    "yarn": (yarn(), YARN),
}


def test_these_are_all_that_rotate_by_tables() -> None:
    assert sorted(by_tables()) == sorted(TABLES)


@pytest.mark.parametrize("scheme", CASES)
@pytest.mark.parametrize("model_type", TABLES)
def test_the_tables_are_those_of_the_scheme(model_type: str, scheme: str) -> None:
    model = patch_model(tiny_model(tiny_config(model_type)), scheme, factor=2)
    assert tables(model)
    for table in tables(model):
        assert (table - closed_form(*CASES[scheme])).abs().max() < 1e-6
    oracle = tiny_model(tiny_config(model_type, n_positions=2 * TRAINED))
    oracle.load_state_dict(model.state_dict())
    for table in tables(oracle):
        table.copy_(closed_form(*CASES[scheme]))
    count = 3 * TRAINED // 2
    assert (logits(model, count) - logits(oracle, count)).abs().max() <= 4e-6


@pytest.mark.parametrize("model_type", TABLES)
def test_tables_are_lengthened_without_scaling_as_transformers_makes_them(model_type: str) -> None:
    model = patch_model(tiny_model(tiny_config(model_type)), "none", factor=2)
    longer = tiny_model(tiny_config(model_type, n_positions=2 * TRAINED))
    assert (logits(model, 2 * TRAINED) - logits(longer, 2 * TRAINED)).abs().max() <= 4e-6


@pytest.mark.parametrize("model_type", TABLES)
def test_undoing_gives_the_very_tables_back(model_type: str) -> None:
    model = tiny_model(tiny_config(model_type))
    before, held, config = logits(model, TRAINED), tables(model), model.config.to_dict()
    with patched(model, "linear", factor=4):
        assert len(tables(model)[0]) == 4 * TRAINED
    patch_model(patch_model(model, "linear", factor=4), "yarn", factor=2)
    assert not torch.equal(logits(model, TRAINED), before)
    with patched(model, "linear", factor=4):
        pass
    assert (tables(model)[0] - closed_form(*CASES["yarn"])).abs().max() < 1e-6
    unpatch_model(model)
    assert torch.equal(logits(model, TRAINED), before)
    assert all(one is other for one, other in zip(tables(model), held, strict=True))
    assert model.config.to_dict() == config
    with pytest.raises(TypeError, match="no rotary position embedding"):
        unpatch_model(model)


@pytest.mark.parametrize("model_type", TABLES)
def test_they_are_described_before_and_after(model_type: str) -> None:
    model = tiny_model(tiny_config(model_type))
    before = describe(model)
    assert (before.scheme, before.original_max_position_embeddings, before.max_length) == (None, TRAINED, TRAINED)
    after = describe(patch_model(model, "yarn", factor=4))
    assert (after.scheme, after.original_max_position_embeddings) == (YaRN(factor=4.0), TRAINED)
    assert (after.max_length, after.factor) == (4 * TRAINED, 4.0)
    assert "patched with" in str(after)
    assert after.modules == ["transformer.h.0.attn", "transformer.h.1.attn"]
    assert describe(unpatch_model(model)) == before


@pytest.mark.parametrize("model_type", TABLES)
def test_a_saved_checkpoint_loads_unpatched_and_is_patched_again_by_its_record(model_type: str, tmp_path: Path) -> None:
    model = tiny_model(tiny_config(model_type))
    before = logits(model, TRAINED)
    patch_model(model, "yarn", factor=2)
    with pytest.warns(UserWarning, match="are not saved"):
        model.save_pretrained(tmp_path)
    reloaded = type(model).from_pretrained(tmp_path).eval()
    assert torch.equal(logits(reloaded, TRAINED), before)
    assert reloaded.config.rope_scaling_patch["native"] is False
    assert torch.equal(logits(patch_model(reloaded), 2 * TRAINED), logits(model, 2 * TRAINED))


def test_a_cache_filled_before_is_refused() -> None:
    model = tiny_model(tiny_config("gptj"))
    ids = torch.randint(3, 97, (1, 8))
    cache = model(ids, use_cache=True).past_key_values
    patch_model(model, "linear", factor=2)
    with pytest.raises(ValueError, match="past_key_values was filled before"):
        model(ids[:, :1], past_key_values=cache)


def test_copies_and_casts_keep_the_scaled_tables() -> None:
    model = patch_model(tiny_model(tiny_config("gptj")), "yarn", factor=2)
    twin = copy.deepcopy(model)
    assert torch.equal(logits(twin, 2 * TRAINED), logits(model, 2 * TRAINED))
    unpatch_model(twin)
    assert len(tables(twin)[0]) == TRAINED
    assert len(tables(model)[0]) == 2 * TRAINED


def test_a_table_that_is_not_the_architectures_is_refused() -> None:
    model = tiny_model(tiny_config("gptj"))
    tables(model)[0].mul_(2)
    with pytest.raises(ValueError, match="is not the table that Transformers makes"):
        patch_model(model, "linear")


def test_layers_of_one_kind_are_told_so() -> None:
    with pytest.raises(ValueError, match="share one RoPE"):
        patch_model(tiny_model(tiny_config("gptj")), "linear", layer_types=("full_attention",))
