"""A dynamic patch is put on, taken off, replaced, saved, copied and moved like any other."""

from __future__ import annotations

import copy
import io
import pickle
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from rope_scaling import DynamicScaling, YaRN, describe, patch_model, patched, rope_length, rope_of, unpatch_model
from tests.architectures.matrix import everything, same
from tests.models import TRAINED, tiny_config, tiny_model, tokens
from tests.patches.dynamic.models import FACTOR, LONGEST, TEXT, apart, dynamic, native, new_cache, read, whole


def test_undoing_gives_back_everything() -> None:
    model = tiny_model()
    before = everything(model)
    patch_model(model, "dynamic-yarn", factor=FACTOR)
    assert not same(everything(model), before)
    unpatch_model(model)
    assert same(everything(model), before)


@pytest.mark.parametrize("other", ["yarn", "none", "dynamic-ntk"])
def test_one_patch_replaces_another(other: str) -> None:
    fresh = patch_model(tiny_model(), other, factor=FACTOR)
    model = patch_model(dynamic(), other, factor=FACTOR)
    assert torch.equal(whole(model, TEXT), whole(fresh, TEXT))
    patch_model(model, "dynamic-yarn", factor=FACTOR)
    assert torch.equal(whole(model, TEXT), whole(dynamic(), TEXT))
    unpatch_model(model)
    assert torch.equal(whole(model, TEXT), whole(tiny_model(), TEXT))


def test_patching_twice_is_patching_once() -> None:
    twice = patch_model(dynamic(), "dynamic-yarn", factor=FACTOR)
    assert torch.equal(whole(twice, TEXT), whole(dynamic(), TEXT))
    assert same(everything(unpatch_model(twice)), everything(tiny_model())) is False  # other tensors, the same numbers
    assert torch.equal(whole(twice, TEXT), whole(tiny_model(), TEXT))


def test_patched_around_a_block_leaves_what_was_there() -> None:
    model = dynamic("dynamic-ntk")
    before = whole(model, TEXT)
    with patched(model, "dynamic-yarn", factor=2):
        assert not torch.equal(whole(model, TEXT), before)
        with patched(model, "linear", factor=2), pytest.raises(ValueError, match="inside"):
            raise ValueError("inside")
    assert torch.equal(whole(model, TEXT), before)
    cache = new_cache(model, "dynamic")
    read(model, TEXT, cache, [60, 40])
    with patched(tiny := tiny_model(), "dynamic-yarn"):
        assert describe(tiny).dynamic
    assert describe(tiny).scheme is None


def test_the_config_keeps_its_parameters_and_gets_a_record() -> None:
    model, plain = dynamic(), tiny_model()
    said = model.config.to_dict()
    record = said.pop("rope_scaling_patch")
    assert said == plain.config.to_dict()
    assert (record["scheme"], record["options"], record["native"]) == ("dynamic-yarn", {"factor": 4.0}, False)


def test_plain_transformers_loads_it_unscaled_and_a_patch_without_a_scheme_scales_it(tmp_path: Path) -> None:
    model = dynamic()
    with pytest.warns(UserWarning, match="plain Transformers loads this checkpoint unscaled"):
        model.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    assert torch.equal(whole(loaded, TEXT), whole(tiny_model(), TEXT))
    patch_model(loaded)
    assert torch.equal(whole(loaded, TEXT), whole(model, TEXT))
    assert describe(loaded).scheme == DynamicScaling(YaRN(4.0))
    unpatch_model(loaded)
    assert torch.equal(whole(loaded, TEXT), whole(tiny_model(), TEXT))
    assert not hasattr(loaded.config, "rope_scaling_patch")


def test_a_reloaded_one_can_be_unpatched_or_patched_otherwise_at_once(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="loads this checkpoint unscaled"):
        dynamic().save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    assert not hasattr(unpatch_model(loaded).config, "rope_scaling_patch")
    again = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    assert apart(whole(patch_model(again, "yarn", factor=4), TEXT), whole(native(4.0), TEXT)) < 1e-5


def test_saving_says_so_once(tmp_path: Path) -> None:
    model = dynamic()
    with pytest.warns(UserWarning, match="unscaled"):
        model.save_pretrained(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.save_pretrained(tmp_path)


def test_the_grids_are_not_saved() -> None:
    with pytest.warns(UserWarning, match="unscaled"):
        assert dynamic().state_dict().keys() == tiny_model().state_dict().keys()


def test_copies_are_patched_and_go_their_own_way() -> None:
    model = dynamic()
    copied = copy.deepcopy(model)
    settings: dict[str, Any] = {"max_new_tokens": 100, "do_sample": False, "eos_token_id": -1}
    meant = model.generate(TEXT[:, :50], **settings)
    unpatch_model(model)
    assert torch.equal(copied.generate(TEXT[:, :50], **settings), meant)
    assert torch.equal(whole(copied, TEXT), whole(dynamic(), TEXT))
    with rope_length(copied, LONGEST):
        assert apart(whole(copied, TEXT[:, :20]), whole(native(FACTOR), TEXT[:, :20])) < 1e-5
    assert torch.equal(whole(model, TEXT), whole(tiny_model(), TEXT))


def test_a_pickled_model_is_patched() -> None:
    model = dynamic()
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    for loaded in (torch.load(file, weights_only=False), pickle.loads(pickle.dumps(model))):
        assert torch.equal(whole(loaded, TEXT), whole(model, TEXT))
        assert torch.equal(whole(unpatch_model(loaded), TEXT), whole(tiny_model(), TEXT))


def test_casting_the_model_leaves_the_grid_exact() -> None:
    model = dynamic()
    before = model.get_buffer("model.rotary_emb.row_frequencies").clone()
    model.to(torch.bfloat16)
    after = model.get_buffer("model.rotary_emb.row_frequencies")
    assert after.dtype == torch.float32
    assert torch.equal(after, before)


def test_a_model_patched_without_numbers_gets_them() -> None:
    with torch.device("meta"):
        model = tiny_model()
    patch_model(model, "dynamic-yarn", factor=FACTOR)
    model.to_empty(device="cpu")
    model.load_state_dict(tiny_model().state_dict())
    assert torch.equal(whole(model, TEXT), whole(dynamic(), TEXT))
    planned = model.generate(TEXT[:, :50], max_new_tokens=60, do_sample=False, eos_token_id=-1)
    assert torch.equal(planned, dynamic().generate(TEXT[:, :50], max_new_tokens=60, do_sample=False, eos_token_id=-1))
    with pytest.raises(ValueError, match="on the meta device when it was patched"):
        read(model, TEXT, new_cache(model, "dynamic"), [60, 10])


def test_a_cache_of_before_the_patch_is_refused() -> None:
    model = tiny_model()
    cache = new_cache(model, "dynamic")
    read(model, TEXT, cache, [20])
    patch_model(model, "dynamic-yarn", factor=FACTOR)
    with pytest.raises(ValueError, match="filled before this model was patched"):
        read(model, TEXT, cache, [20])


def test_describing_says_what_it_is() -> None:
    told = describe(dynamic())
    assert told.dynamic
    assert (told.factor, told.max_length, told.original_max_position_embeddings) == (4.0, LONGEST, TRAINED)
    endless = describe(patch_model(tiny_model(), "dynamic-ntk"))
    assert (endless.factor, endless.max_length) == (float("inf"), None)
    assert "64 -> any number of tokens" in str(endless)
    assert rope_of(dynamic()).inv_freq == rope_of(tiny_model()).inv_freq


def test_a_scaled_checkpoint_is_composed_with_or_replaced() -> None:
    with pytest.raises(ValueError, match="scaled already"):
        patch_model(native(2.0), "dynamic-ntk")
    composed = patch_model(native(2.0), "dynamic-ntk", on_scaled="compose")
    assert torch.equal(whole(composed, tokens(2 * TRAINED)), whole(native(2.0), tokens(2 * TRAINED)))
    assert describe(composed).original_max_position_embeddings == 2 * TRAINED
    replaced = patch_model(native(2.0), "dynamic-ntk", on_scaled="replace")
    assert apart(whole(replaced, tokens(TRAINED)), whole(tiny_model(), tokens(TRAINED))) < 1e-5


def test_a_temperature_in_the_softmax_is_refused_and_nothing_changed() -> None:
    said = {"rope_type": "default", "rope_theta": 1e4, "mscale": 1.0, "mscale_all_dim": 1.0}
    model = tiny_model(tiny_config(rope_parameters=said))
    before = everything(model)
    with pytest.raises(ValueError, match="one number for all rows: yarn cannot be"):
        patch_model(model, "dynamic-yarn")
    assert same(everything(model), before)
    patch_model(model, "dynamic-ntk")


@pytest.mark.parametrize("scheme", ["none", "abf"])
def test_what_cannot_be_dynamic_is_refused_and_nothing_changed(scheme: str) -> None:
    from rope_scaling.schemes import ABF, NoScaling

    model = tiny_model()
    before = everything(model)
    with pytest.raises(ValueError, match="cannot be dynamic"):
        patch_model(model, ABF(1e6) if scheme == "abf" else NoScaling(), dynamic=True)
    assert same(everything(model), before)


def test_tables_cannot_be_dynamic() -> None:
    from transformers import GPTJConfig, GPTJForCausalLM

    model = GPTJForCausalLM(
        GPTJConfig(vocab_size=97, n_positions=TRAINED, n_embd=64, n_layer=1, n_head=2, rotary_dim=16)
    )
    with pytest.raises(ValueError, match="looks angles up in one table"):
        patch_model(model, "dynamic-yarn")


def test_contradicting_factors_are_an_error() -> None:
    with pytest.raises(ValueError, match="contradicting factors"):
        patch_model(tiny_model(), DynamicScaling(YaRN(4.0)), factor=2)


def test_a_wrapped_model_is_planned_too() -> None:
    model = dynamic()
    wrapped = torch.nn.DataParallel(model).module
    with rope_length(torch.nn.ModuleList([wrapped]), LONGEST):
        assert apart(whole(model, TEXT[:, :20]), whole(native(FACTOR), TEXT[:, :20])) < 1e-5
