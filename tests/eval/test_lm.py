from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.api.model import CachingLM
from lm_eval.api.registry import get_model
from lm_eval.models.huggingface import HFLM
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2Config

from rope_scaling.eval.lm import RopeHFLM, TruncationError, TruncationWarning, truncation_tallies
from rope_scaling.schemes import YaRN
from tests.eval.tiny import TRAINED, tiny_checkpoint, tiny_llama

LONG = "a b c d e f g h i j k l m n o p q r s t u v w x y z "  # a token a character


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_checkpoint(tmp_path_factory.mktemp("tiny")))


def asked(kind: str, *arguments: Any) -> list[Instance]:
    return [Instance(kind, {}, arguments, 0)]


def generation(prompt: str, tokens: int = 4) -> list[Instance]:
    return asked("generate_until", prompt, {"until": [], "max_gen_toks": tokens, "do_sample": False})


def test_lm_eval_knows_it_as_rope_hf() -> None:
    assert get_model("rope-hf") is RopeHFLM


def test_the_patched_length_reaches_the_harness(checkpoint: str) -> None:
    assert RopeHFLM(checkpoint).max_length == TRAINED
    assert RopeHFLM(checkpoint, "yarn", factor=4).max_length == 4 * TRAINED
    assert RopeHFLM(checkpoint, "yarn:factor=4,beta_fast=16").max_length == 4 * TRAINED
    assert RopeHFLM(checkpoint, YaRN(factor=4)).max_length == 4 * TRAINED
    assert RopeHFLM(checkpoint, "none", factor=4).max_length == 4 * TRAINED


def test_a_tokenizer_that_knows_the_trained_length_does_not_hold_it_back(checkpoint: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(checkpoint, model_max_length=TRAINED)
    lm = RopeHFLM(checkpoint, "ntk", factor=2, tokenizer=tokenizer, truncation=True)
    assert lm.max_length == 2 * TRAINED
    assert lm.tok_batch_encode([LONG], truncation=True)[0].shape[1] == len(LONG)


def test_max_length_scales_unless_a_factor_does(checkpoint: str) -> None:
    assert RopeHFLM(checkpoint, "ntk", max_length=100).rope()["factor"] == pytest.approx(100 / TRAINED)
    capped = RopeHFLM(checkpoint, "ntk", factor=4, max_length=100)
    assert (capped.max_length, capped.rope()["max_length"]) == (100, 4 * TRAINED)
    beyond = RopeHFLM(checkpoint, "none", max_length=100)
    assert (beyond.max_length, beyond.rope()["scheme"], beyond.rope()["max_length"]) == (100, "none", TRAINED)


@pytest.mark.parametrize(
    ("scheme", "native"),
    [
        ("none", {}),
        ("linear", {"rope_type": "linear", "factor": 4.0}),
        ("yarn", {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": TRAINED}),
        ("ntk", {"rope_theta": 100.0 * 4 ** (8 / 6)}),  # theta · s^(d / (d − 2)), d = 8
    ],
)
def test_scores_equal_those_of_plain_hflm_on_a_native_config(
    checkpoint: str, scheme: str, native: dict[str, Any]
) -> None:
    ours = RopeHFLM(checkpoint, scheme, factor=4, batch_size=2)
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    plain = HFLM(tiny_llama(**native), tokenizer=tokenizer, max_length=4 * TRAINED, batch_size=2)
    requests = [asked("loglikelihood", LONG[:n], LONG[n : n + 12])[0] for n in (5, 20, 40)]
    got, expected = ours.loglikelihood(requests), plain.loglikelihood(requests)
    assert [score for score, _ in got] == pytest.approx([score for score, _ in expected], rel=1e-6)
    assert [greedy for _, greedy in got] == [greedy for _, greedy in expected]
    rolling = asked("loglikelihood_rolling", LONG * 4)
    assert ours.loglikelihood_rolling(rolling) == pytest.approx(plain.loglikelihood_rolling(rolling))
    assert ours.generate_until(generation(LONG)) == plain.generate_until(generation(LONG))


def test_a_request_that_just_fits_is_not_counted_and_one_token_more_is(checkpoint: str) -> None:
    lm = RopeHFLM(checkpoint, allow_truncation=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error", TruncationWarning)
        lm.loglikelihood(asked("loglikelihood", "x" * TRAINED, "y"))  # the last token is not read
        lm.generate_until(generation("x" * (TRAINED - 4)))
    assert not lm.truncated
    with pytest.warns(TruncationWarning, match=r"1 of 1 loglikelihood requests are longer .* 32 tokens \(up to 33\)"):
        lm.loglikelihood(asked("loglikelihood", "x" * (TRAINED + 1), "y"))
    with pytest.warns(TruncationWarning, match=r"1 of 1 generate_until requests .* lose their beginning"):
        lm.generate_until(generation("x" * (TRAINED - 3)))
    assert lm.truncated == {"loglikelihood": 1, "generate_until": 1}
    assert lm.get_model_info()["truncated_requests"] == {"loglikelihood": 1, "generate_until": 1}


def test_a_request_that_is_too_long_is_refused_before_anything_is_computed(checkpoint: str) -> None:
    lm = RopeHFLM(checkpoint)
    short, long = asked("loglikelihood", "x", "y"), asked("loglikelihood", "x" * (TRAINED + 1), "y")
    with pytest.raises(TruncationError, match=r"1 of 2 loglikelihood requests are longer .* allow_truncation=true"):
        lm.loglikelihood(short + long)
    with pytest.raises(TruncationError, match=r"1 of 1 generate_until requests .* \(up to 33\) and would lose"):
        lm.generate_until(generation("x" * (TRAINED - 3)))
    assert lm.engine.reader.work.passes == 0


def test_what_is_cut_is_cut_as_in_hflm(checkpoint: str) -> None:
    plain = HFLM(tiny_llama(), tokenizer=AutoTokenizer.from_pretrained(checkpoint))
    lm, text = RopeHFLM(checkpoint, allow_truncation=True), LONG * 2
    with pytest.warns(TruncationWarning):
        ours = lm.loglikelihood(asked("loglikelihood", text, "abc"))
    assert ours[0][0] == pytest.approx(plain.loglikelihood(asked("loglikelihood", text, "abc"))[0][0], rel=1e-6)
    with pytest.warns(TruncationWarning):
        assert lm.generate_until(generation(text)) == plain.generate_until(generation(text))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"allow_truncation": "yes"}, "allow_truncation must be true or false, got 'yes'"),
        ({"chunk": 0}, "chunk must be a number of tokens from 1 on, got 0"),
        ({"cache_gb": -1}, "cache_gb must be a positive number of gigabytes, got -1"),
    ],
)
def test_options_that_make_no_sense_cost_no_loading(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        RopeHFLM("no/such/checkpoint", **options)


def test_the_windows_of_a_rolling_score_are_no_truncation(checkpoint: str) -> None:
    lm = RopeHFLM(checkpoint)
    lm.loglikelihood_rolling(asked("loglikelihood_rolling", LONG * 4))
    assert not lm.truncated


def test_a_continuation_longer_than_the_model_is_refused(checkpoint: str) -> None:
    with pytest.raises(ValueError, match="a continuation of 40 tokens cannot be scored by a model of 32"):
        RopeHFLM(checkpoint).loglikelihood(asked("loglikelihood", "x", "y" * 40))


def test_a_misspelt_scheme_costs_no_loading() -> None:
    with pytest.raises(ValueError, match="did you mean 'ntk'"):
        RopeHFLM("no/such/checkpoint", "nkt")


def test_model_info_tells_scheme_lengths_and_versions(checkpoint: str) -> None:
    info = RopeHFLM(checkpoint, "yarn:beta_fast=16", factor=4).get_model_info()
    assert info["rope"]["scheme"] == "yarn"
    assert info["rope"]["options"] == {"factor": 4.0, "beta_fast": 16}
    assert info["rope"]["original_max_position_embeddings"] == TRAINED
    assert info["rope"]["max_length"] == info["harness_max_length"] == 4 * TRAINED
    assert info["package_versions"]["torch"] == torch.__version__
    assert info["truncated_requests"] == {}
    assert info["engine"]["shares_prefixes"] is True


def test_the_fingerprint_tells_schemes_and_weights_apart(checkpoint: str, tmp_path: Path) -> None:
    prints = [RopeHFLM(checkpoint, scheme).fingerprint for scheme in ("none", "ntk", "yarn", "yarn:beta_fast=16")]
    assert len({*prints}) == 4
    assert RopeHFLM(checkpoint, "yarn").fingerprint == prints[2]
    other = tiny_llama()
    with torch.no_grad():
        other.model.layers[1].mlp.up_proj.weight[0, 0] += 1
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    named = [RopeHFLM(model, tokenizer=tokenizer).fingerprint for model in (tiny_llama(), tiny_llama(), other)]
    assert named[0] == named[1] != named[2]


def test_tallies_reach_whoever_asked_even_when_the_model_is_gone(checkpoint: str) -> None:
    with truncation_tallies() as tallies, pytest.warns(TruncationWarning):
        RopeHFLM(checkpoint, allow_truncation=True).generate_until(generation("x" * TRAINED))
    assert tallies == [{"generate_until": 1}]


def test_hflm_scores_the_wrong_tokens_where_requests_read_the_same_text(checkpoint: str) -> None:
    """A fault of lm-eval 0.4.13 that `rope-hf` has not: if this fails, lm-eval has mended it."""
    plain = HFLM(tiny_llama(), tokenizer=AutoTokenizer.from_pretrained(checkpoint), max_length=4 * TRAINED)
    requests = [asked("loglikelihood", LONG[:n], LONG[n:])[0] for n in (5, 40)]
    (alone,) = plain.loglikelihood(requests[1:])
    assert plain.loglikelihood(requests)[1][0] != pytest.approx(alone[0], rel=1e-4)
    ours = RopeHFLM(checkpoint, max_length=4 * TRAINED)
    assert ours.loglikelihood(requests)[1][0] == pytest.approx(alone[0], rel=1e-6)


def test_lm_evals_cache_hands_one_scheme_the_answers_of_another(checkpoint: str, tmp_path: Path) -> None:
    """What our refusal is for: if this fails, lm-eval has mended its keys."""
    tokenizer, requests = AutoTokenizer.from_pretrained(checkpoint), asked("loglikelihood", LONG[:40], LONG[40:])
    models = tiny_llama(), tiny_llama(rope_type="linear", factor=4.0)
    plain, linear = (HFLM(model, tokenizer=tokenizer, max_length=4 * TRAINED) for model in models)
    assert plain.loglikelihood(requests) != linear.loglikelihood(requests)
    first = CachingLM(plain, str(tmp_path / "answers.db")).loglikelihood(requests)
    assert CachingLM(linear, str(tmp_path / "answers.db")).loglikelihood(requests) == first


def test_a_response_cache_of_another_scheme_is_refused(checkpoint: str, tmp_path: Path) -> None:
    path, requests = str(tmp_path / "answers.db"), asked("loglikelihood", "abc", "d")
    answers = CachingLM(RopeHFLM(checkpoint, "ntk"), path).loglikelihood(requests)
    assert CachingLM(RopeHFLM(checkpoint, "ntk"), path).loglikelihood(requests) == answers
    with pytest.raises(ValueError, match="give every model and scheme its own --use_cache path"):
        CachingLM(RopeHFLM(checkpoint, "yarn"), path)


def test_a_response_cache_of_an_unknown_model_is_refused(checkpoint: str, tmp_path: Path) -> None:
    path = str(tmp_path / "answers.db")
    plain = HFLM(tiny_llama(), tokenizer=AutoTokenizer.from_pretrained(checkpoint))
    CachingLM(plain, path).loglikelihood(asked("loglikelihood", "abc", "d"))
    with pytest.raises(ValueError, match="holds answers of an unknown model"):
        CachingLM(RopeHFLM(checkpoint), path)


def test_truncated_answers_in_a_cache_are_told(checkpoint: str, tmp_path: Path) -> None:
    path = str(tmp_path / "answers.db")
    with pytest.warns(TruncationWarning):
        CachingLM(RopeHFLM(checkpoint, allow_truncation=True), path).generate_until(generation("x" * TRAINED))
    again = RopeHFLM(checkpoint)
    with pytest.warns(TruncationWarning, match="cache holds answers to truncated requests"):
        CachingLM(again, path)
    assert again.get_model_info()["truncated_requests_in_cache"] is True


def test_a_dynamic_scheme_tells_its_length_and_leaves_short_texts_alone(checkpoint: str) -> None:
    lm, named = RopeHFLM(checkpoint, "yarn", factor=4, dynamic=True), RopeHFLM(checkpoint, "dynamic-yarn", factor=4)
    assert lm.max_length == named.max_length == 4 * TRAINED
    assert lm.rope()["scheme"] == named.rope()["scheme"] == "dynamic-yarn"
    assert lm.fingerprint == named.fingerprint != RopeHFLM(checkpoint, "yarn", factor=4).fingerprint
    short = asked("loglikelihood", LONG[:8], LONG[8:20])
    assert lm.loglikelihood(short) == RopeHFLM(checkpoint).loglikelihood(short)
    long = asked("loglikelihood", LONG, LONG[:9])
    assert lm.loglikelihood(long) != RopeHFLM(checkpoint, max_length=4 * TRAINED).loglikelihood(long)


def test_a_model_without_rope_is_run_and_told(checkpoint: str) -> None:
    """Its results are asked for when all is computed: they must not fail then."""
    model = AutoModelForCausalLM.from_config(GPT2Config(n_embd=32, n_layer=1, n_head=2, vocab_size=300)).eval()
    info = RopeHFLM(model, tokenizer=AutoTokenizer.from_pretrained(checkpoint)).get_model_info()
    assert (info["rope"]["scheme"], info["rope"]["rope_type"]) == ("none", None)
