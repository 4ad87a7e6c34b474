"""Scales that follow the length: a request scores what it would alone, whatever stands around it."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from rope_scaling.eval.engine.lengths import by_scale, scaled_lengths
from rope_scaling.patches import patch_model
from tests.eval.engine.asking import engine_lm, keyed_pairs, model_of, prompted, rolled, scored, words

L = 64


def dynamic(scheme: str = "dynamic-yarn", model_type: str = "llama") -> PreTrainedModel:
    return patch_model(model_of(model_type, max_position_embeddings=L), scheme, factor=4)


def alone(model: PreTrainedModel, tokenizer: Any, context: str, continuation: str) -> float:
    """One forward over the whole text, whose length is the sequence's."""
    head = tokenizer(context).input_ids or [tokenizer.bos_token_id]
    ids = tokenizer(context + continuation).input_ids
    ids = ids if context else head + ids
    with torch.no_grad():
        scores = model(torch.tensor([ids[:-1]]), use_cache=False).logits[0].log_softmax(-1)
    at = range(len(head) - 1, len(ids) - 1)
    return float(sum(scores[position, ids[position + 1]] for position in at))


@pytest.mark.parametrize("scheme", ["dynamic-yarn", "dynamic-ntk"])
@pytest.mark.parametrize("options", [{"chunk": 16}, {"chunk": 40, "batch_size": 4}], ids=str)
def test_every_request_scores_what_it_scores_alone(tokenizer: Any, scheme: str, options: dict[str, int]) -> None:
    model, pairs = dynamic(scheme), [pair for pair in keyed_pairs() if not pair[0].endswith(" ")]
    lm = engine_lm(model, tokenizer, **options)
    ours = [value for value, _ in lm.loglikelihood(scored(pairs))]
    assert ours == pytest.approx([alone(model, tokenizer, *pair) for pair in pairs], rel=1e-5)
    assert lm.engine.reader.work.tokens < sum(len(context) for context, _ in pairs)


def test_scores_and_answers_do_not_depend_on_the_order(tokenizer: Any) -> None:
    model, pairs = dynamic(), keyed_pairs()
    order = random.Random(3).sample(range(len(pairs)), len(pairs))
    shuffled = [pairs[number] for number in order]
    first, second = engine_lm(model, tokenizer, batch_size=3), engine_lm(model, tokenizer, batch_size=8, chunk=30)
    scores, again = first.loglikelihood(scored(pairs)), second.loglikelihood(scored(shuffled))
    assert [scores[number][0] for number in order] == pytest.approx([value for value, _ in again], rel=1e-5)
    answers, again = first.generate_until(prompted(pairs)), second.generate_until(prompted(shuffled))
    assert [answers[number] for number in order] == again


def test_answers_are_those_of_generate_alone(tokenizer: Any) -> None:
    model, pairs = dynamic(), keyed_pairs()[:12]
    expected = []
    for context, _ in pairs:
        ids = torch.tensor([tokenizer(context or "z").input_ids])
        made = model.generate(ids, max_new_tokens=6, do_sample=False, pad_token_id=0)[0, ids.shape[1] :]
        expected.append(tokenizer.decode(made, skip_special_tokens=True))
    lm = engine_lm(model, tokenizer, batch_size=4, chunk=30)
    assert lm.generate_until(prompted(pairs, until=[])) == expected


def test_texts_within_the_trained_length_score_as_unpatched(tokenizer: Any) -> None:
    texts = rolled(words(random.Random(0), L - 2), words(random.Random(1), 30))
    plain = engine_lm(model_of(max_position_embeddings=L), tokenizer)
    assert engine_lm(dynamic(), tokenizer).loglikelihood_rolling(texts) == plain.loglikelihood_rolling(texts)


def test_a_model_that_is_read_whole_is_frozen_too(tokenizer: Any) -> None:
    """HFLM pads rows to the longest of a batch, which would scale all of them for its length."""
    model, pairs = dynamic(), [pair for pair in keyed_pairs() if not pair[0].endswith(" ")]
    lm = engine_lm(model, tokenizer, batch_size=8)
    vars(lm.engine)["abilities"] = type(lm.engine.abilities)(False, False, "for the test")
    ours = [value for value, _ in lm.loglikelihood(scored(pairs))]
    assert ours == pytest.approx([alone(model, tokenizer, *pair) for pair in pairs], rel=1e-5)


def test_only_requests_of_one_scale_share() -> None:
    grid = scaled_lengths(dynamic())
    assert (grid[0], grid[-1]) == (L, 4 * L)
    lengths = [10, L, L + 1, grid[1], grid[1] + 1, 4 * L, 4 * L + 9]
    groups = dict(by_scale(dynamic(), lengths, int))
    assert groups == {L: [10, L], grid[1]: [L + 1, grid[1]], grid[2]: [grid[1] + 1], 4 * L: [4 * L, 4 * L + 9]}
    assert by_scale(model_of(), lengths, int) == [(0, lengths)]
