"""Patching and undoing: what changes, what does not, what is refused."""

from __future__ import annotations

import copy
import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from rope_scaling import NTK, SCHEMES, YaRN, describe, patch_model, patched, unpatch_model
from tests.models import ARCHITECTURES, TRAINED, logits, tiny_config, tiny_model, tokens

LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 1e4,
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}


def rotary(model: nn.Module) -> nn.Module:
    return next(m for name, m in model.named_modules() if name.endswith("rotary_emb"))


def everything(model: PreTrainedModel) -> dict[str, Any]:
    """All that a patch may touch, and more."""
    module = rotary(model)
    return {
        "class": type(module),
        "attributes": {k: v for k, v in vars(module).items() if k not in ("_buffers", "config")},
        "buffers": {k: v.clone() for k, v in module.named_buffers()},
        "addresses": {k: v.data_ptr() for k, v in module.named_buffers()},
        "config": model.config.to_dict(),
        "config attributes": sorted(vars(model.config)),
        "generation": model.generation_config.to_dict(),
        "hooks": [(name, len(m._forward_pre_hooks), len(m._forward_hooks)) for name, m in model.named_modules()],
        "guards": [sorted(vars(m)) for m in model.modules()],
    }


def assert_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    one, other = dict(one), dict(other)
    mine, theirs = one.pop("buffers"), other.pop("buffers")
    assert one == other
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[k], theirs[k]) and mine[k].dtype == theirs[k].dtype for k in mine)


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
    once = patch_model(tiny_model(), scheme, factor=4)
    twice = patch_model(patch_model(tiny_model(), "yarn", factor=8), scheme, factor=4)
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


def test_patching_a_cast_model_starts_from_exact_frequencies_and_undoes_to_the_rounded_ones() -> None:
    model = tiny_model().to(torch.bfloat16)
    rounded = rotary(model).get_buffer("inv_freq").clone()
    assert describe(model).rounded == ["model.rotary_emb.inv_freq"]
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


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    patch_model(tiny_model(), "ntk", factor=4).save_pretrained(tmp_path)
    return tmp_path


def test_a_saved_checkpoint_carries_the_record(saved: Path) -> None:
    record = json.loads((saved / "config.json").read_text())["rope_scaling_patch"]
    assert record["scheme"] == "ntk"
    assert record["options"] == {"factor": 4.0}
    assert record["before"]["max_position_embeddings"] == TRAINED


def test_a_reloaded_checkpoint_is_known_to_be_patched_and_can_be_undone(saved: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(saved)
    assert describe(model).scheme == NTK(4.0)
    unpatch_model(model)
    assert torch.equal(logits(model), logits(tiny_model()))
    assert model.config.rope_parameters == {"rope_theta": 1e4, "rope_type": "default"}
    assert not hasattr(model.config, "rope_scaling_patch")
    assert model.config.max_position_embeddings == TRAINED


def test_a_reloaded_checkpoint_is_patched_again_without_compounding(saved: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(saved)
    same = logits(model)
    assert torch.equal(logits(patch_model(model)), same)
    patch_model(model, "yarn", factor=2)
    assert torch.equal(logits(model), logits(patch_model(tiny_model(), "yarn", factor=2)))


def test_patching_around_a_reloaded_checkpoint_gives_it_back(saved: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(saved)
    before = everything(model)
    with patched(model, "yarn", factor=2):
        assert describe(model).scheme == YaRN(2.0)
    assert_same(everything(model), before)


def test_an_already_scaled_checkpoint_is_refused_with_both_ways_out() -> None:
    model = tiny_model(tiny_config(rope_parameters=dict(LLAMA3)))
    before = everything(model)
    with pytest.raises(ValueError, match=r"scaled already .*'llama3'.*on_scaled='compose'.*on_scaled='replace'"):
        patch_model(model, "yarn")
    assert_same(everything(model), before)


@pytest.mark.parametrize(
    "parameters",
    [
        {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0},
        {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0},
        {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 16},
    ],
)
def test_every_kind_of_scaled_checkpoint_is_refused(parameters: dict[str, Any]) -> None:
    model = tiny_model(tiny_config(rope_parameters=parameters))
    with pytest.raises(ValueError, match="scaled already"):
        patch_model(model, "ntk")


def test_composing_scales_the_trained_frequencies_from_the_declared_length(tmp_path: Path) -> None:
    model = tiny_model(tiny_config(rope_parameters=dict(LLAMA3)))
    trained = rotary(model).get_buffer("inv_freq").clone()
    patch_model(model, "linear", factor=2, on_scaled="compose")
    live = rotary(model).get_buffer("inv_freq")
    assert torch.allclose(live, trained / 2, rtol=1e-6)
    told = describe(model)
    assert (told.original_max_position_embeddings, told.max_length) == (TRAINED, 2 * TRAINED)
    model.save_pretrained(tmp_path)
    assert torch.equal(logits(AutoModelForCausalLM.from_pretrained(tmp_path)), logits(model))
    assert torch.equal(rotary(unpatch_model(model)).get_buffer("inv_freq"), trained)


def test_composing_multiplies_attention_factors() -> None:
    yarn = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 16}
    model = tiny_model(tiny_config(rope_parameters=yarn))
    factor = rotary(model).attention_scaling
    patch_model(model, "yarn", factor=2, on_scaled="compose")
    assert rotary(model).attention_scaling == pytest.approx(factor * (0.1 * 0.6931471805599453 + 1))


def test_replacing_starts_from_the_plain_frequencies() -> None:
    model = tiny_model(tiny_config(rope_parameters=dict(LLAMA3)))
    patch_model(model, "ntk", factor=2, on_scaled="replace")
    expected = patch_model(tiny_model(tiny_config(max_position_embeddings=16)), "ntk", factor=2)
    assert torch.equal(rotary(model).get_buffer("inv_freq"), rotary(expected).get_buffer("inv_freq"))
    assert describe(model).original_max_position_embeddings == 16


def test_original_max_length_overrides_the_config() -> None:
    model = patch_model(tiny_model(), "llama3", factor=4, original_max_length=TRAINED // 2)
    assert model.config.max_position_embeddings == 2 * TRAINED
    assert model.config.rope_parameters["original_max_position_embeddings"] == TRAINED // 2


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"scheme": "nkt"}, ValueError, "unknown scheme 'nkt': did you mean 'ntk'"),
        ({}, ValueError, "no scheme was given"),
        ({"scheme": 3}, TypeError, "scheme must be a name or a value"),
        ({"scheme": "ntk", "factor": 0.5}, ValueError, "at least 1"),
        ({"scheme": "ntk", "max_length": 10}, ValueError, "at least the trained length 64, got 10"),
        ({"scheme": "ntk", "factor": 2, "max_length": 256}, ValueError, "contradicting factors"),
        ({"scheme": YaRN(4), "factor": 2}, ValueError, "contradicting factors"),
        ({"scheme": "ntk", "original_max_length": -1}, ValueError, "original_max_length must be"),
        ({"scheme": "ntk", "on_scaled": "yes"}, ValueError, "on_scaled must be"),
        ({"scheme": "dynamic"}, ValueError, "breaks a KV cache"),
        ({"scheme": "abf"}, ValueError, "needs theta"),
    ],
)
def test_bad_arguments_leave_the_model_untouched(
    arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    model = tiny_model()
    before = everything(model)
    with pytest.raises(error, match=message):
        patch_model(model, **arguments)
    assert_same(everything(model), before)


@pytest.mark.parametrize("model_type", ["gpt2", "bloom", "gptj", "opt"])
def test_a_model_without_scalable_rope_is_a_type_error(model_type: str) -> None:
    config = AutoConfig.for_model(
        model_type, vocab_size=97, hidden_size=32, n_embd=32, n_layer=1, num_hidden_layers=1, n_head=2,
        num_attention_heads=2, ffn_dim=32, rotary_dim=8, word_embed_proj_dim=32,
    )  # fmt: skip
    with pytest.raises(TypeError, match="has no rotary position embedding that can be scaled"):
        patch_model(AutoModelForCausalLM.from_config(config), "ntk")


def test_a_checkpoint_folder_is_not_a_model() -> None:
    with pytest.raises(TypeError, match=r"must be a torch.nn.Module, got str"):
        patch_model("some/folder", "ntk")  # type: ignore[type-var]


def test_an_unpatched_model_has_nothing_to_undo() -> None:
    with pytest.raises(ValueError, match="is not patched"):
        unpatch_model(tiny_model())


def test_a_config_edited_after_loading_is_found_out() -> None:
    model = tiny_model()
    model.config.rope_parameters = {"rope_type": "linear", "rope_theta": 1e4, "factor": 8.0}
    with pytest.raises(ValueError, match="does not hold the frequencies that its config gives"):
        patch_model(model, "ntk", on_scaled="replace")


def test_two_models_on_one_config_object_are_found_out() -> None:
    config = tiny_config()
    one, other = tiny_model(config), tiny_model(config)
    patch_model(one, "linear")
    with pytest.raises(ValueError, match="config is shared with a patched model"):
        patch_model(other, "linear")


def test_a_model_without_numbers_is_refused() -> None:
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(tiny_config())
    with pytest.raises(ValueError, match="meta device"):
        patch_model(model, "ntk")


def test_a_rotary_module_that_is_not_understood_is_named() -> None:
    model = tiny_model()

    class HomeMadeRotary(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("inv_freq", torch.ones(4))

    model.add_module("extra", HomeMadeRotary())
    with pytest.raises(ValueError, match=r"not understood: extra \(HomeMadeRotary\)"):
        patch_model(model, "ntk")


def test_parameters_that_other_parts_of_a_model_read_are_refused() -> None:
    model = tiny_model(tiny_config(rope_parameters={"rope_type": "default", "rope_theta": 1e4, "mystery_beta": 0.1}))
    with pytest.raises(ValueError, match="hold mystery_beta, which other parts"):
        patch_model(model, "ntk")


def gemma3(layers: list[str]) -> PreTrainedModel:
    return tiny_model(tiny_config("gemma3_text", num_hidden_layers=len(layers), layer_types=layers, sliding_window=16))


def test_layers_with_a_sliding_window_within_the_trained_length_are_left_alone(tmp_path: Path) -> None:
    model = gemma3(["sliding_attention", "full_attention"])
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


def test_a_model_of_sliding_windows_only_has_nothing_to_extend() -> None:
    with pytest.raises(ValueError, match="sliding window of 16 tokens"):
        patch_model(gemma3(["sliding_attention", "sliding_attention"]), "linear")


def test_a_model_that_cannot_be_told_a_scheme_is_refused_with_the_reason() -> None:
    model = tiny_model(tiny_config("phimoe", num_local_experts=2))
    before = everything(model)
    with pytest.raises(ValueError, match="phimoe cannot be told scheme 'yarn' through its config"):
        patch_model(model, "yarn")
    assert_same(everything(model), before)
