"""Putting remapped positions on a model, taking them off, and carrying them from one place to another."""

from __future__ import annotations

import contextlib
import copy
import io
import warnings
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from rope_scaling import describe, patch_model, patched, unpatch_model
from rope_scaling.schemes import SelfExtend, parse_scheme
from tests.models import TRAINED, tiny_config, tiny_gemma3, tiny_model
from tests.patches.remap.models import FACTOR, LONGEST, TEXT, remapped, whole
from tests.patches.state import assert_same, everything

SCALED = {"rope_type": "llama3", "rope_theta": 1e4, "factor": 2.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}


def test_undoing_gives_back_every_bit() -> None:
    model = tiny_model()
    before, state = whole(model), everything(model)
    patch_model(model, "self-extend", factor=4)
    assert not torch.allclose(whole(model), before)
    unpatch_model(model)
    assert_same(everything(model), state)
    assert torch.equal(whole(model), before)


@pytest.mark.parametrize("other", ["ntk", "dynamic-yarn", "dca", "none"])
def test_one_scheme_after_another_is_the_last_one_alone(other: str) -> None:
    model = tiny_model()
    state = everything(model)
    for scheme in ("self-extend", other, "self-extend", "self-extend", other):
        patch_model(model, scheme, factor=FACTOR)
        alone = patch_model(tiny_model(), scheme, factor=FACTOR)
        assert torch.equal(whole(model), whole(alone))
        assert model.config.to_dict() == alone.config.to_dict()
    assert_same(everything(unpatch_model(model)), state)


@pytest.mark.parametrize("inner", ["self-extend", "ntk", "dynamic-ntk"])
@pytest.mark.parametrize("outer", ["self-extend", "yarn", None])
def test_a_block_leaves_the_model_as_it_was(outer: str | None, inner: str) -> None:
    model = tiny_model()
    if outer is not None:
        patch_model(model, outer, factor=FACTOR)
    before, config = whole(model), model.config.to_dict()
    with contextlib.suppress(KeyboardInterrupt), patched(model, inner, factor=2):
        assert not torch.equal(whole(model), before)
        raise KeyboardInterrupt
    assert torch.equal(whole(model), before)
    assert model.config.to_dict() == config


def test_a_copy_is_patched_and_undone_by_itself() -> None:
    model = remapped()
    wanted = whole(model)
    twin = copy.deepcopy(model)
    assert torch.equal(whole(twin), wanted)
    unpatch_model(twin)
    assert torch.equal(whole(twin), whole(tiny_model()))
    assert torch.equal(whole(model), wanted)


def test_a_pickled_model_is_still_patched() -> None:
    model = remapped()
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    assert torch.equal(whole(torch.load(file, weights_only=False)), whole(model))


def test_a_saved_checkpoint_loads_plain_and_is_remapped_again_by_its_record(tmp_path: Path) -> None:
    model = remapped()
    with pytest.warns(UserWarning, match="remapped positions are saved as a record"):
        model.save_pretrained(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # it is said once
        model.save_pretrained(tmp_path)
    reloaded = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    assert torch.equal(whole(reloaded), whole(tiny_model()))
    assert describe(reloaded).pending
    assert "not applied" in str(describe(reloaded))
    assert reloaded.config.rope_scaling_patch["native"] is False
    assert reloaded.config.max_position_embeddings == TRAINED, "plain Transformers reaches no further"
    assert torch.equal(whole(patch_model(reloaded)), whole(model))
    assert describe(reloaded) == describe(model)
    assert torch.equal(whole(unpatch_model(reloaded)), whole(tiny_model()))


def test_a_record_that_was_not_applied_is_undone_or_replaced(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="saved as a record"):
        remapped().save_pretrained(tmp_path)
    undone, replaced = (AutoModelForCausalLM.from_pretrained(tmp_path).eval() for _ in range(2))
    assert torch.equal(whole(unpatch_model(undone)), whole(tiny_model()))
    assert describe(undone).scheme is None
    patch_model(replaced, "ntk", factor=2)
    assert torch.equal(whole(replaced), whole(patch_model(tiny_model(), "ntk", factor=2)))


def test_it_is_described() -> None:
    told = describe(remapped())
    assert (told.scheme, told.factor) == (SelfExtend(factor=FACTOR), FACTOR)
    assert (told.original_max_position_embeddings, told.max_length) == (TRAINED, LONGEST)


def test_a_frequency_scheme_beneath_does_its_part_natively(tmp_path: Path) -> None:
    model = patch_model(tiny_model(), SelfExtend(factor=4, over="ntk:factor=2"))
    plain = patch_model(tiny_model(), "ntk", factor=2)
    assert torch.equal(whole(model, TEXT[:, : 2 * TRAINED]), whole(plain, TEXT[:, : 2 * TRAINED]))
    assert not torch.allclose(whole(model), whole(plain))
    with pytest.warns(UserWarning, match="saved as a record"):
        model.save_pretrained(tmp_path)
    reloaded = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    assert torch.equal(whole(reloaded), whole(plain)), "plain Transformers loads what lies beneath"
    assert torch.equal(whole(patch_model(reloaded)), whole(model))
    for one in (model, reloaded):
        assert torch.equal(whole(unpatch_model(one)), whole(tiny_model()))
        assert one.config.rope_parameters == tiny_config().rope_parameters


def test_a_factor_of_one_changes_nothing() -> None:
    assert torch.equal(whole(patch_model(tiny_model(), "self-extend", factor=1)), whole(tiny_model()))


def test_a_shorter_trained_length_remaps_from_there() -> None:
    model = patch_model(tiny_model(), "self-extend", factor=8, original_max_length=16)
    assert torch.equal(whole(model, TEXT[:, :16]), whole(tiny_model(), TEXT[:, :16]))
    short = patch_model(tiny_model(tiny_config(max_position_embeddings=16)), "self-extend", factor=8)
    assert torch.equal(whole(model), whole(short))
    assert model.config.max_position_embeddings == TRAINED


@pytest.mark.parametrize("on_scaled", ["compose", "replace"])
def test_a_scaled_checkpoint_is_remapped_from_the_length_it_was_trained_to(on_scaled: str) -> None:
    parameters = SCALED | {"original_max_position_embeddings": TRAINED // 2}
    model = tiny_model(tiny_config(rope_parameters=parameters))
    with pytest.raises(ValueError, match="scaled already"):
        patch_model(model, "self-extend", factor=2)
    before, trained = whole(model), TRAINED if on_scaled == "compose" else TRAINED // 2
    patch_model(model, "self-extend", factor=2, on_scaled=on_scaled)
    if on_scaled == "compose":
        assert torch.equal(whole(model, TEXT[:, :trained]), before[:, :trained])
    assert describe(model).original_max_position_embeddings == trained
    assert torch.equal(whole(unpatch_model(model)), before)


def test_sliding_layers_within_the_trained_length_are_left_alone() -> None:
    alone = tiny_gemma3(["sliding_attention", "full_attention"])
    full = patch_model(alone, "self-extend", factor=4)
    assert full.get_submodule("model.layers.0.self_attn").config is full.config
    assert full.get_submodule("model.layers.1.self_attn").config is not full.config
    with pytest.raises(ValueError, match="within the trained length"):
        patch_model(tiny_gemma3(["sliding_attention", "sliding_attention"]), "self-extend", factor=4)


@pytest.mark.parametrize(
    ("scheme", "says"),
    [("self-extend:window=1000", "window must be below"), ("self-extend:group=2,window=60", "short of the")],
)
def test_a_patch_that_fails_leaves_nothing_behind(scheme: str, says: str) -> None:
    model = patch_model(tiny_model(), "ntk", factor=2)
    before, state = whole(model), everything(model)
    with pytest.raises(ValueError, match=says):
        patch_model(model, parse_scheme(scheme), factor=4)
    assert_same(everything(model), state)
    assert torch.equal(whole(model), before)


def test_a_model_without_numbers_is_refused() -> None:
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(tiny_config())
    with pytest.raises(ValueError, match="is on the meta device"):
        patch_model(model, "self-extend", factor=4)


def test_tables_are_refused() -> None:
    sizes = {"n_embd": 64, "n_layer": 1, "n_head": 2, "rotary_dim": 16, "n_positions": TRAINED}
    none = dict.fromkeys(["hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "head_dim"])
    model = tiny_model(tiny_config("gptj", **none, **sizes, num_key_value_heads=None, max_position_embeddings=None))
    with pytest.raises(ValueError, match="looks angles up in one table"):
        patch_model(model, "self-extend", factor=4)
