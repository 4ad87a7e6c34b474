"""What is found out about a model's cache, and what is done where it allows less."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
from torch import nn
from transformers import T5Config, T5ForConditionalGeneration

from rope_scaling import patch_model
from rope_scaling.eval.engine.abilities import Abilities, abilities_of
from rope_scaling.eval.engine.reader import Reader
from tests.eval.engine.asking import engine_lm, keyed_pairs, model_of, plain_lm, prompted, rolled, scored

SWITCHING = {
    "rope_type": "longrope",
    "rope_theta": 10_000.0,
    "short_factor": [1.0] * 16,
    "long_factor": [4.0] * 16,
    "original_max_position_embeddings": 64,
}


def asked_of(model: nn.Module) -> Abilities:
    return abilities_of(Reader(model, torch.device("cpu")))


def hybrid() -> nn.Module:
    return model_of("bamba", attn_layer_indices=[1], mamba_n_heads=4, mamba_d_head=32, mamba_expand=2)


def test_full_attention_can_be_chunked_and_shared() -> None:
    found = asked_of(model_of())
    assert (found.chunks, found.sharing, found.why_not) == (True, True, "")
    assert found.bytes_per_token == 2 * 2 * 32 * 4  # keys and values, 2 layers, 1 head of 32, float32


def test_a_sliding_window_can_be_chunked_and_not_shared() -> None:
    found = asked_of(model_of("gemma3_text", layer_types=["sliding_attention", "full_attention"], sliding_window=16))
    assert (found.chunks, found.sharing) == (True, False)


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (lambda: model_of("mamba"), "it keeps no keys and values"),
        (hybrid, "its cache has layers of type LinearAttention"),
        (lambda: model_of("phi3", rope_parameters=SWITCHING, original_max_position_embeddings=64), "'longrope'"),
        (lambda: model_of(rope_parameters={"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}), "'dynamic'"),
        (lambda: T5ForConditionalGeneration(T5Config(d_model=32, num_layers=1, vocab_size=97)), "encoder-decoder"),
    ],
    ids=["mamba", "hybrid", "switching longrope", "native dynamic", "encoder-decoder"],
)
def test_what_cannot_be_chunked_is_told_why(model: Any, why: str) -> None:
    found = asked_of(model())
    assert (found.chunks, found.sharing) == (False, False)
    assert why in found.why_not


def test_a_longrope_whose_lists_are_the_same_does_not_switch() -> None:
    """So static schemes are written."""
    parameters = SWITCHING | {"short_factor": [4.0] * 16}
    assert asked_of(model_of("phi3", rope_parameters=parameters, original_max_position_embeddings=64)).sharing


def test_a_model_that_forgets_its_cache_is_found_out() -> None:
    model = model_of()
    forward = model.forward

    def forgetful(input_ids: Any = None, past_key_values: Any = None, **kwargs: Any) -> Any:
        return forward(input_ids, past_key_values=None, **kwargs)

    model.forward = forgetful
    assert asked_of(model).why_not == "it gives other logits in chunks"


def test_a_model_that_fails_with_a_cache_is_left_to_hflm() -> None:
    model = model_of()
    forward = model.forward

    def failing(input_ids: Any = None, past_key_values: Any = None, use_cache: bool = False, **kwargs: Any) -> Any:
        if use_cache:
            raise NotImplementedError("no cache here")
        return forward(input_ids, **kwargs)

    model.forward = failing
    assert asked_of(model).why_not == "reading it in chunks fails: NotImplementedError: no cache here"


@pytest.mark.parametrize("model", [lambda: model_of("mamba"), hybrid], ids=["mamba", "hybrid"])
def test_the_fallback_is_hflm_itself_and_told_once(
    tokenizer: Any, model: Any, caplog: pytest.LogCaptureFixture
) -> None:
    made, pairs = model(), keyed_pairs()[:8]
    with caplog.at_level(logging.WARNING):
        ours, theirs = engine_lm(made, tokenizer, batch_size=2), plain_lm(made, tokenizer, batch_size=2)
        assert ours.loglikelihood(scored(pairs)) == theirs.loglikelihood(scored(pairs))
        assert ours.loglikelihood_rolling(rolled("abc" * 9)) == theirs.loglikelihood_rolling(rolled("abc" * 9))
        assert ours.generate_until(prompted(pairs)) == theirs.generate_until(prompted(pairs))
    assert [one.getMessage() for one in caplog.records if "rope-hf" in one.getMessage()] == [
        f"rope-hf reads whole texts, with the memory that hf takes: {ours.engine.abilities.why_not}"
    ]


def test_learnt_prompts_are_left_to_hflm(tokenizer: Any) -> None:
    peft = pytest.importorskip("peft")
    config = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4)
    model = peft.get_peft_model(model_of(), config).eval()
    ours, theirs = engine_lm(model, tokenizer), plain_lm(model, tokenizer)
    assert "its prompt is learnt" in ours.engine.abilities.why_not
    requests = scored(keyed_pairs()[:5])
    assert ours.loglikelihood(requests) == theirs.loglikelihood(requests)


def test_a_compiled_model_is_read_as_the_model_itself(tokenizer: Any) -> None:
    plain = patch_model(model_of(max_position_embeddings=64), "dynamic-yarn", factor=4)
    compiled: Any = torch.compile(plain, backend="eager")
    requests = scored(keyed_pairs()[:8])
    expected = [value for value, _ in engine_lm(plain, tokenizer, chunk=64).loglikelihood(requests)]
    with torch.compiler.set_stance("force_eager"):  # the wrapper is what counts here, and graphs take a minute
        ours = engine_lm(compiled, tokenizer, chunk=64)
        assert ours.engine.abilities.sharing, ours.engine.abilities.why_not
        assert ours.engine.reader.takes_keep
        assert [value for value, _ in ours.loglikelihood(requests)] == pytest.approx(expected, rel=1e-5)


def test_lora_is_read_in_chunks(tokenizer: Any) -> None:
    peft = pytest.importorskip("peft")
    adapted = peft.LoraConfig(target_modules=["q_proj"], init_lora_weights=False)
    model = peft.get_peft_model(model_of(), adapted).eval()
    ours, theirs = engine_lm(model, tokenizer, chunk=20), plain_lm(model, tokenizer)
    assert ours.engine.abilities.sharing
    assert ours.engine.reader.takes_keep
    (a, *_), (b, *_) = ours.loglikelihood(scored(keyed_pairs())), theirs.loglikelihood(scored(keyed_pairs()))
    assert a[0] == pytest.approx(b[0], rel=1e-5)
