"""Scores and answers of the engine against those of lm-eval's own model, which reads every text whole."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from lm_eval.api.instance import Instance

from tests.eval.engine.asking import engine_lm, keyed_pairs, model_of, plain_lm, prompted, rolled, scored, words

ARCHITECTURES = ["llama", "qwen3", "phi3", "gpt_neox", "falcon", "mixtral", "granite", "gemma2", "gpt_oss"]
SHAPES = [{"chunk": 1024}, {"chunk": 16}, {"chunk": 50, "batch_size": 3}, {"chunk": 7, "batch_size": 16}]
TEXTS = [words(random.Random(n), n) for n in (10, 300, 700)]


def assert_same_scores(ours: list[Any], theirs: list[Any]) -> None:
    assert [value for value, _ in ours] == pytest.approx([value for value, _ in theirs], rel=1e-5)
    assert [greedy for _, greedy in ours] == [greedy for _, greedy in theirs]


@pytest.mark.parametrize("options", SHAPES, ids=str)
@pytest.mark.parametrize("share", [True, False])
def test_log_likelihoods_do_not_depend_on_chunks_batches_or_sharing(
    tokenizer: Any, options: dict[str, int], share: bool
) -> None:
    model, requests = model_of(), scored(keyed_pairs())
    ours = engine_lm(model, tokenizer, share=share, **options)
    assert_same_scores(ours.loglikelihood(requests), plain_lm(model, tokenizer).loglikelihood(requests))
    read_by_hflm = sum(len(context or "s") + len(continuation) - 1 for context, continuation in keyed_pairs())
    assert (ours.engine.reader.work.tokens < read_by_hflm / 3) == share


@pytest.mark.parametrize("model_type", ARCHITECTURES)
def test_every_architecture_scores_and_answers_as_hflm_does(tokenizer: Any, model_type: str) -> None:
    changes = {"sliding_window": 24} if model_type in ("gemma2", "gpt_oss") else {}
    model, pairs = model_of(model_type, **changes), keyed_pairs()
    ours, theirs = engine_lm(model, tokenizer, chunk=40, batch_size=3), plain_lm(model, tokenizer, batch_size=3)
    assert ours.engine.abilities.chunks
    assert_same_scores(ours.loglikelihood(scored(pairs)), theirs.loglikelihood(scored(pairs)))
    rolling = rolled(*TEXTS)
    assert ours.loglikelihood_rolling(rolling) == pytest.approx(theirs.loglikelihood_rolling(rolling), rel=1e-5)
    assert ours.generate_until(prompted(pairs)) == theirs.generate_until(prompted(pairs))


def test_a_softcap_of_the_head_is_kept(tokenizer: Any) -> None:
    requests = scored(keyed_pairs()[:6])
    capped, free = (model_of("gemma2", final_logit_softcapping=cap) for cap in (0.5, None))
    ours = engine_lm(capped, tokenizer).loglikelihood(requests)
    assert_same_scores(ours, plain_lm(capped, tokenizer).loglikelihood(requests))
    assert ours[0][0] != pytest.approx(plain_lm(free, tokenizer).loglikelihood(requests)[0][0], rel=1e-4)


@pytest.mark.parametrize("options", SHAPES, ids=str)
def test_answers_do_not_depend_on_chunks_or_batches(tokenizer: Any, options: dict[str, int]) -> None:
    model, requests = model_of(), prompted(keyed_pairs())
    ours = engine_lm(model, tokenizer, **options)
    assert ours.generate_until(requests) == plain_lm(model, tokenizer).generate_until(requests)
    assert ours.engine.reader.work.tokens < sum(len(request.args[0]) for request in requests) / 2


def test_requests_come_back_in_their_order_and_each_under_its_own_options(tokenizer: Any) -> None:
    model, pairs = model_of(), keyed_pairs()
    requests = prompted(pairs[:9], max_gen_toks=3) + prompted(pairs[9:], until=["e", "a"], max_gen_toks=8)
    random.Random(1).shuffle(requests)
    assert engine_lm(model, tokenizer).generate_until(requests) == plain_lm(model, tokenizer).generate_until(requests)


def test_beams_are_left_to_hflm(tokenizer: Any) -> None:
    model, requests = model_of(), prompted(keyed_pairs()[:4], num_beams=3)
    ours = engine_lm(model, tokenizer)
    assert ours.generate_until(requests) == plain_lm(model, tokenizer).generate_until(requests)
    assert ours.engine.reader.work.tokens == 0


def test_sampling_follows_the_temperature(tokenizer: Any) -> None:
    model, pairs = model_of(), keyed_pairs()[:1]
    ours = engine_lm(model, tokenizer)
    greedy = ours.generate_until(prompted(pairs, until=[]))
    assert ours.generate_until(prompted(pairs, until=[], do_sample=True, temperature=1e-6)) == greedy
    torch.manual_seed(0)
    drawn = {tuple(ours.generate_until(prompted(pairs, until=[], do_sample=True, temperature=5.0))) for _ in range(3)}
    assert len(drawn) == 3


def test_half_precision_is_summed_in_float32(tokenizer: Any) -> None:
    model, text = model_of().to(torch.bfloat16), TEXTS[1]
    (ours,) = engine_lm(model, tokenizer, max_length=512).loglikelihood_rolling(rolled(text))
    ids = torch.tensor([[tokenizer.bos_token_id, *tokenizer(text).input_ids]])
    with torch.no_grad():
        logits = model(ids[:, :-1]).logits[0].float()
    exact = -torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="sum").item()
    (theirs,) = plain_lm(model, tokenizer, max_length=512).loglikelihood_rolling(rolled(text))
    assert abs(ours - exact) < 0.1 * abs(theirs - exact)


def test_a_model_that_gives_no_numbers_is_told(tokenizer: Any) -> None:
    model = model_of()
    with torch.no_grad():
        model.lm_head.weight[5] = float("nan")
    with pytest.raises(ValueError, match=r"the model's output is not finite .*: try a wider dtype"):
        engine_lm(model, tokenizer).loglikelihood(scored([("abc", "d")]))


def test_an_empty_prompt_is_answered(tokenizer: Any) -> None:
    model = model_of()
    request = Instance("generate_until", {}, ("", {"until": [], "max_gen_toks": 4}), 0)
    with torch.no_grad():
        expected = model.generate(torch.tensor([[tokenizer.bos_token_id]]), max_new_tokens=4, do_sample=False)[0, 1:]
    assert engine_lm(model, tokenizer).generate_until([request]) == [
        tokenizer.decode(expected, skip_special_tokens=True)
    ]
