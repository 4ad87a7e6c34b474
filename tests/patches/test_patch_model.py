"""Patching and undoing: what changes and what does not."""

from __future__ import annotations

import copy
import io
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from rope_scaling import SCHEMES, YaRN, describe, patch_model, patched, unpatch_model
from tests.models import ARCHITECTURES, TRAINED, logits, tiny_gemma3, tiny_model, tokens
from tests.patches.state import assert_same, everything, rotary


@pytest.mark.parametrize("scheme", ["linear", "ntk", "ntk-by-parts", "yarn", "llama3"])
@pytest.mark.parametrize("model_type", ARCHITECTURES)
def test_unpatching_restores_everything_exactly(model_type: str, scheme: str) -> None:
    model = tiny_model(model_type)
    before, out = everything(model), logits(model)
    patch_model(model, scheme, factor=4)
    assert not torch.equal(logits(model), out)
    assert unpatch_model(model) is model
    assert_same(everything(model), before)
    assert torch.equal(logits(model), out)


@pytest.mark.parametrize("scheme", sorted(set(SCHEMES) - {"abf", "longrope", "dynamic"}))
def test_patching_twice_is_patching_once_with_the_last(scheme: str) -> None:
    once = patch_model(tiny_model(), scheme, factor=1.9)  # string reaches no further
    twice = patch_model(patch_model(tiny_model(), "yarn", factor=8), scheme, factor=1.9)
    assert torch.equal(logits(once), logits(twice))
    assert_same(
        everything(once) | {"addresses": None, "guards": None, "attributes": None},
        everything(twice) | {"addresses": None, "guards": None, "attributes": None},
    )
    assert torch.equal(logits(unpatch_model(twice)), logits(tiny_model()))


def test_the_model_is_patched_in_place_and_returned() -> None:
    model = tiny_model()
    module = rotary(model)
    assert patch_model(model, "ntk") is model
    assert rotary(model) is module
    assert type(module).__name__ == "LlamaRotaryEmbedding"
    assert model.config.max_position_embeddings == 2 * TRAINED
    assert model.config.rope_parameters["rope_theta"] == pytest.approx(1e4 * 2 ** (32 / 30))


def test_a_scheme_is_a_name_or_a_value() -> None:
    by_name = patch_model(tiny_model(), "yarn", max_length=4 * TRAINED)
    by_value = patch_model(tiny_model(), YaRN(factor=4))
    assert torch.equal(logits(by_name), logits(by_value))


def test_the_context_manager_undoes_its_patch_also_after_an_exception() -> None:
    model = tiny_model()
    before = everything(model)
    with patched(model, "yarn", factor=4) as inside:
        assert inside is model
        assert describe(model).factor == 4
    assert_same(everything(model), before)
    with pytest.raises(RuntimeError, match="stop"), patched(model, "ntk"):
        raise RuntimeError("stop")
    assert_same(everything(model), before)


def test_the_context_manager_gives_back_an_earlier_patch() -> None:
    model = patch_model(tiny_model(), "linear", factor=4)
    out, told = logits(model), str(describe(model))
    with patched(model, "yarn", factor=8):
        assert describe(model).factor == 8
    assert str(describe(model)) == told
    assert torch.equal(logits(model), out)
    assert torch.equal(logits(unpatch_model(model)), logits(tiny_model()))


def test_describe_says_what_is_patched_from_where_to_where() -> None:
    model = tiny_model()
    assert describe(model).scheme is None
    assert "not patched: 64 -> 64 tokens" in str(describe(model))
    patch_model(model, "yarn", factor=4)
    told = describe(model)
    assert (told.scheme, told.factor, told.max_length) == (YaRN(4.0), 4.0, 4 * TRAINED)
    assert told.original_max_position_embeddings == TRAINED
    assert told.modules == ["model.rotary_emb"]


def test_frequencies_stay_float32_when_the_model_is_cast() -> None:
    model = patch_model(tiny_model(), "yarn", factor=4)
    exact = rotary(model).get_buffer("inv_freq").clone()
    for cast in (model.to(torch.bfloat16), model.half(), model.double(), model.float()):
        live = rotary(cast).get_buffer("inv_freq")
        assert live.dtype == torch.float32
        assert torch.equal(live, exact)
    assert model.dtype == torch.float32


def test_frequencies_that_were_rounded_and_cast_back_are_found_out() -> None:
    model = tiny_model().to(torch.bfloat16).float()
    assert describe(model).rounded == ["model.rotary_emb.inv_freq"]
    with pytest.warns(UserWarning, match="inv_freq had been rounded"):
        patch_model(model, "none")
    assert describe(model).rounded == []
    assert torch.equal(rotary(model).get_buffer("inv_freq"), rotary(tiny_model()).get_buffer("inv_freq"))


def test_patching_a_cast_model_starts_from_exact_frequencies_and_undoes_to_the_rounded_ones() -> None:
    model = tiny_model().to(torch.bfloat16)
    rounded = rotary(model).get_buffer("inv_freq").clone()
    assert describe(model).rounded == ["model.rotary_emb.inv_freq"]
    with pytest.warns(UserWarning, match="inv_freq had been rounded"):
        patch_model(model, "linear", factor=2)
    expected = rotary(patch_model(tiny_model(), "linear", factor=2)).get_buffer("inv_freq")
    assert torch.equal(rotary(model).get_buffer("inv_freq"), expected)
    assert describe(model).rounded == []
    unpatch_model(model)
    assert torch.equal(rotary(model).get_buffer("inv_freq"), rounded)


def test_a_patched_model_can_be_copied_and_pickled() -> None:
    model = patch_model(tiny_model(), "ntk-by-parts", factor=4)
    out = logits(model)
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    for twin in (copy.deepcopy(model), torch.load(file, weights_only=False)):
        assert torch.equal(logits(twin), out)
        assert rotary(twin.to(torch.bfloat16)).get_buffer("inv_freq").dtype == torch.float32
        unpatch_model(twin.float())
        assert describe(twin).scheme is None
    assert torch.equal(logits(model), out), "undoing the copy must leave the model alone"


def test_a_patched_model_compiles_without_a_graph_break() -> None:
    model = patch_model(tiny_model(), "ntk-by-parts", factor=4)
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    assert torch.allclose(logits(compiled), logits(model), atol=1e-5)


def test_generation_config_follows_and_transformers_does_not_warn(caplog: pytest.LogCaptureFixture) -> None:
    model = tiny_model()
    model.generation_config.max_length = TRAINED
    patch_model(model, "yarn", factor=4)
    assert model.generation_config.max_length == 4 * TRAINED
    with caplog.at_level("WARNING"):
        model.generate(tokens(TRAINED + 10), max_new_tokens=4, do_sample=False)
    assert "predefined maximum length" not in caplog.text
    unpatch_model(model)
    assert model.generation_config.max_length == TRAINED


def test_a_generation_length_of_the_users_own_is_left_alone() -> None:
    model = tiny_model()
    model.generation_config.max_length = 20
    assert patch_model(model, "yarn", factor=4).generation_config.max_length == 20


def test_layers_with_a_sliding_window_within_the_trained_length_are_left_alone(tmp_path: Path) -> None:
    model = tiny_gemma3(["sliding_attention", "full_attention"])
    before = {name: buffer.clone() for name, buffer in rotary(model).named_buffers()}
    patch_model(model, "linear", factor=2)
    live = rotary(model)
    assert torch.equal(live.get_buffer("sliding_attention_inv_freq"), before["sliding_attention_inv_freq"])
    assert torch.equal(live.get_buffer("full_attention_inv_freq"), before["full_attention_inv_freq"] / 2)
    assert describe(model).layer_types == ["full_attention"]
    model.save_pretrained(tmp_path)
    assert torch.equal(logits(AutoModelForCausalLM.from_pretrained(tmp_path)), logits(model))
    unpatch_model(model)
    assert all(torch.equal(rotary(model).get_buffer(name), buffer) for name, buffer in before.items())
