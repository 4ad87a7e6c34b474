"""Copies of a patched model, on disk and in memory, and several models at once."""

from __future__ import annotations

import copy
import io
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from pickle import UnpicklingError

import pytest
import torch
from transformers import LlamaForCausalLM, PreTrainedModel

from rope_scaling import describe, patch_model, unpatch_model
from tests.models import ARCHITECTURES, TRAINED, logits, tiny_model
from tests.patches.state import assert_same, everything, rotary
from tests.patches.twins import FACTOR, IDS, linear_config, patched_yarn, twin_of_patched


@pytest.mark.parametrize("model_type", ARCHITECTURES)
def test_a_copy_and_its_original_are_patched_and_undone_apart(model_type: str) -> None:
    model = patch_model(tiny_model(model_type), "yarn", factor=FACTOR)
    out, plain = logits(model, IDS), logits(tiny_model(model_type), IDS)
    twin = copy.deepcopy(model)
    assert torch.equal(logits(unpatch_model(twin), IDS), plain)
    assert_same(everything(twin) | {"addresses": None}, everything(tiny_model(model_type)) | {"addresses": None})
    assert torch.equal(logits(model, IDS), out)
    second = copy.deepcopy(model)
    assert torch.equal(logits(unpatch_model(model), IDS), plain)
    assert torch.equal(logits(second, IDS), out)


@torch.no_grad()
def test_the_guard_of_a_copy_is_its_own() -> None:
    model = patched_yarn()
    twin = copy.deepcopy(model)
    patch_model(twin, "linear", factor=2)
    cache = model(IDS).past_key_values
    with pytest.raises(ValueError, match="past_key_values was filled before"):
        twin(IDS[:, :1], past_key_values=cache)
    model(IDS[:, :1], past_key_values=cache)
    unpatch_model(model)
    with pytest.raises(ValueError, match="past_key_values was filled before"):
        twin(IDS[:, :1], past_key_values=cache)


IN_A_NEW_PROCESS = """
import sys, torch
model = torch.load(sys.argv[1], weights_only=False)
ids = torch.load(sys.argv[2])
model.to(torch.bfloat16).float()
from rope_scaling import describe, unpatch_model
with torch.no_grad():
    told = str(describe(model)), model.eval()(ids, use_cache=False).logits
    unpatch_model(model)
    torch.save((*told, model(ids, use_cache=False).logits), sys.argv[3])
"""


def test_a_pickled_model_works_in_a_new_process(tmp_path: Path) -> None:
    model = patched_yarn().to(torch.bfloat16).float()  # weights that survive the cast there
    torch.save(model, tmp_path / "model.pt")
    torch.save(IDS, tmp_path / "ids.pt")
    files = [str(tmp_path / name) for name in ("model.pt", "ids.pt", "out.pt")]
    subprocess.run([sys.executable, "-c", IN_A_NEW_PROCESS, *files], check=True, timeout=120)
    told, out, undone = torch.load(tmp_path / "out.pt")
    assert told == str(describe(model))
    assert torch.equal(out, logits(model, IDS))
    assert torch.equal(undone, logits(unpatch_model(model), IDS))


def test_a_pickled_model_is_not_mistaken_for_weights() -> None:
    file = io.BytesIO()
    torch.save(patched_yarn(), file)
    file.seek(0)
    with pytest.raises(UnpicklingError, match="weights_only"):
        torch.load(file)


@pytest.mark.parametrize("model_type", ARCHITECTURES)
def test_a_state_dict_is_that_of_the_unpatched_model(model_type: str) -> None:
    model, plain = patch_model(tiny_model(model_type), "yarn", factor=FACTOR), tiny_model(model_type, seed=5)
    assert model.state_dict().keys() == plain.state_dict().keys()
    plain.load_state_dict(model.state_dict())
    assert torch.equal(logits(plain, IDS), logits(tiny_model(model_type), IDS))
    model.load_state_dict(tiny_model(model_type, seed=5).state_dict())
    other = patch_model(tiny_model(model_type, seed=5), "yarn", factor=FACTOR)
    assert torch.equal(logits(model, IDS), logits(other, IDS))


def test_two_models_of_one_class_hold_different_schemes() -> None:
    one, other, third = tiny_model(), tiny_model(), tiny_model()
    patch_model(one, "yarn", factor=FACTOR)
    patch_model(other, "linear", factor=3)
    for _ in range(2):
        assert torch.equal(logits(one, IDS), logits(twin_of_patched(), IDS))
        assert torch.equal(logits(other, IDS), logits(tiny_model(linear_config(3.0)), IDS))
        assert torch.equal(logits(third, IDS), logits(tiny_model(), IDS))
    unpatch_model(other)
    assert torch.equal(logits(one, IDS), logits(twin_of_patched(), IDS))
    assert type(rotary(third)) is type(rotary(other))
    assert type(rotary(tiny_model())) is type(rotary(third))


def test_a_part_of_a_model_can_be_patched() -> None:
    model = LlamaForCausalLM(tiny_model().config).eval()
    model.load_state_dict(tiny_model().state_dict())
    patch_model(model.model, "yarn", factor=FACTOR)
    assert torch.equal(logits(model, IDS), logits(twin_of_patched(), IDS))
    assert model.config.max_position_embeddings == FACTOR * TRAINED
    unpatch_model(model)
    assert torch.equal(logits(model, IDS), logits(tiny_model(), IDS))


def test_threads_may_use_one_model_or_several() -> None:
    one, other = patched_yarn(), patch_model(tiny_model(), "linear", factor=3)
    meant = [logits(twin_of_patched(), IDS), logits(tiny_model(linear_config(3.0)), IDS)]
    with ThreadPoolExecutor(4) as pool:
        out = list(pool.map(lambda turn: logits((one, other)[turn % 2], IDS), range(32)))
    assert all(torch.equal(logits_, meant[turn % 2]) for turn, logits_ in enumerate(out))


def test_threads_may_patch_models_of_their_own() -> None:
    def patch_and_undo(turn: int) -> PreTrainedModel:
        model = models[turn]
        for factor in (2, 3, FACTOR):
            patch_model(model, "yarn", factor=factor)
        return model if turn % 2 else unpatch_model(model)

    models = [tiny_model() for _ in range(8)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(patch_and_undo, range(8)))
    meant = [logits(tiny_model(), IDS), logits(twin_of_patched(), IDS)]
    assert all(torch.equal(logits(model, IDS), meant[turn % 2]) for turn, model in enumerate(models))
    assert len({type(rotary(model)) for model in models}) == 2
