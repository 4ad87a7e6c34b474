"""What findings claim of Transformers, tried on Transformers."""

from __future__ import annotations

import copy
import importlib
import inspect
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.models.gemma3.configuration_gemma3 import Gemma3TextConfig
from transformers.models.gemma3.modeling_gemma3 import Gemma3RotaryEmbedding
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding
from transformers.utils import logging

from rope_scaling import patch_model
from rope_scaling.doctor import examine, facts_of_config
from rope_scaling.doctor.ropes import declared_ropes
from rope_scaling.doctor.summary import HALF_SPLIT, INTERLEAVED, readable_ropes
from rope_scaling.rope import Rope
from tests.doctor.cases import LLAMA, LONGROPE, PAIRS, YARN, nested, patched, scaled
from tests.models import tiny_config, tiny_model


@pytest.fixture(autouse=True)
def _no_warnings_from_transformers() -> Iterator[None]:
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    yield
    logging.set_verbosity(verbosity)


def config_of(raw: dict[str, Any]) -> LlamaConfig:
    return LlamaConfig.from_dict(copy.deepcopy(raw))


def rotary_of(raw: dict[str, Any]) -> LlamaRotaryEmbedding:
    return LlamaRotaryEmbedding(config_of(raw))


@pytest.mark.parametrize("rope_type", ["linear", "yarn", "llama3", "longrope"])
def test_a_missing_key_is_a_key_error(rope_type: str) -> None:
    with pytest.raises(KeyError):
        config_of(scaled({"rope_type": rope_type}))


def test_an_unknown_type_is_a_key_error_when_the_model_is_made() -> None:
    with pytest.raises(KeyError):
        rotary_of(scaled({"rope_type": "yran", "factor": 4.0}))


def test_a_null_theta_is_a_type_error_when_the_model_is_made() -> None:
    with pytest.raises(TypeError):
        rotary_of(scaled({"type": "linear", "factor": 4.0}, rope_theta=None))


def test_rope_scaling_is_read_where_both_dicts_are_there() -> None:
    both = scaled(YARN, rope_parameters={"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4})
    assert config_of(both).rope_parameters["rope_type"] == "yarn"


def test_a_theta_beside_rope_parameters_is_not_read() -> None:
    raw = LLAMA | {"rope_theta": 5e5, "rope_parameters": {"rope_type": "default", "rope_theta": 1e4}}
    assert torch.equal(rotary_of(raw).inv_freq, rotary_of(LLAMA).inv_freq)


def test_a_nested_truncate_changes_nothing() -> None:
    tables = [
        Gemma3RotaryEmbedding(Gemma3TextConfig.from_dict(copy.deepcopy(nested(truncate)))).full_attention_inv_freq
        for truncate in (True, False)
    ]
    assert torch.equal(*tables)


def test_a_missing_original_length_is_taken_from_the_declared_one() -> None:
    there = YARN | {"original_max_position_embeddings": 16384}
    without = rotary_of(scaled({"rope_type": "yarn", "factor": 4.0})).inv_freq
    assert torch.equal(without, rotary_of(scaled(there)).inv_freq)
    assert not torch.equal(without, rotary_of(scaled(YARN)).inv_freq)


def test_dynamic_scales_nothing_up_to_the_declared_length() -> None:
    dynamic = {"rope_type": "dynamic", "factor": 4.0, "original_max_position_embeddings": 4096}
    module, plain = rotary_of(scaled(dynamic)), rotary_of(LLAMA)
    module(torch.zeros(1), torch.tensor([[16383]]))
    assert torch.equal(module.inv_freq, plain.inv_freq)
    module(torch.zeros(1), torch.tensor([[16384 * 2]]))
    assert not torch.equal(module.inv_freq, plain.inv_freq)


def test_a_short_list_that_does_not_fit_stops_when_the_model_is_made_a_long_one_at_the_first_forward() -> None:
    with pytest.raises(RuntimeError):
        rotary_of(scaled(LONGROPE | {"short_factor": [1.0] * (PAIRS - 1)}))
    module = rotary_of(scaled(LONGROPE | {"long_factor": [1.0] * (PAIRS - 1)}))
    with pytest.raises(RuntimeError):
        module(torch.zeros(1), torch.tensor([[8]]))


def test_a_config_edited_after_loading_changes_nothing_until_it_is_loaded_again() -> None:
    model = LlamaForCausalLM(config_of(LLAMA | {"num_hidden_layers": 1, "intermediate_size": 8}))
    before = model.model.rotary_emb.inv_freq.clone()
    model.config.rope_parameters = {"rope_type": "linear", "factor": 4.0, "rope_theta": 1e4}
    model.model.rotary_emb(torch.zeros(1), torch.tensor([[8]]))
    assert torch.equal(model.model.rotary_emb.inv_freq, before)
    assert not torch.equal(LlamaRotaryEmbedding(model.config).inv_freq, before)


@pytest.mark.parametrize("model_type", sorted(INTERLEAVED | HALF_SPLIT))
def test_the_layout_is_the_one_that_the_modeling_code_rotates(model_type: str) -> None:
    package = {"gemma3_text": "gemma3", "starcoder2": "starcoder2"}.get(model_type, model_type)
    module = importlib.import_module(f"transformers.models.{package}.modeling_{package}")
    rotate = getattr(module, "rotate_half", None) or getattr(module, "rotate_every_two", None)
    if rotate is None:  # deepseek_v2 multiplies complex numbers made of neighbours; gpt_oss splits into halves
        text = inspect.getsource(module)
        marks = {"deepseek_v2": "view_as_complex", "gpt_oss": "torch.chunk(x, 2, dim=-1)"}
        assert marks[model_type] in text
        return
    if model_type == "deepseek_v3":  # its config chooses, and chooses neighbours unless told otherwise
        assert module.DeepseekV3Config().rope_interleave
        return
    partner = rotate(torch.arange(8.0)[None, None, None])[..., 0].abs().item()
    assert partner == (1 if model_type in INTERLEAVED else 4)


def test_a_checkpoint_that_the_library_saved_is_sound() -> None:
    for scheme in ("linear", "ntk", "yarn", "llama3", "ntk-by-parts"):
        model = patch_model(tiny_model(tiny_config("llama")), scheme, factor=4)
        raw = model.config.to_dict()
        facts = facts_of_config(raw)
        ropes = declared_ropes(facts)
        assert all(isinstance(rope, Rope) for rope in ropes.values())
        codes = {finding.code for rule in _rules() for finding in rule.findings(facts)}
        assert not codes & {"record-edited", "double-scaling", "max-length-factor", "unreadable-rope"}, scheme
        raw["rope_parameters"]["rope_theta"] *= 2
        assert "record-edited" in {f.code for rule in _rules() for f in rule.findings(facts_of_config(raw))}, scheme


def test_a_patched_config_that_also_says_it_in_the_older_words_is_sound() -> None:
    facts = facts_of_config(patched(4.0) | {"rope_scaling": YARN, "rope_theta": 1e4})
    assert examine(facts) == []
    (rope,) = readable_ropes(facts).values()
    assert (rope.rope_type, rope.original_max_position_embeddings) == ("default", 4096)


def _rules() -> Any:
    from rope_scaling.doctor import RULES

    return RULES
