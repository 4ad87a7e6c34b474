"""Remapped positions under the engine that shares prefixes: a request scores what it scores alone."""

from __future__ import annotations

import random
from typing import Any

import pytest
from transformers import PreTrainedModel

from rope_scaling.patches import patch_model
from tests.eval.engine.asking import engine_lm, keyed_pairs, model_of, plain_lm, prompted, rolled, scored, words
from tests.eval.engine.test_dynamic import alone

L = 64


def remapped(scheme: str) -> PreTrainedModel:
    return patch_model(model_of(max_position_embeddings=L), scheme, factor=4)


@pytest.mark.parametrize("scheme", ["self-extend", "dca", "leaky-rerope"])
@pytest.mark.parametrize("options", [{"chunk": 16}, {"chunk": 40, "batch_size": 4}], ids=str)
def test_every_request_scores_what_it_scores_alone(tokenizer: Any, scheme: str, options: dict[str, Any]) -> None:
    model, pairs = remapped(scheme), [pair for pair in keyed_pairs() if not pair[0].endswith(" ")]
    lm = engine_lm(model, tokenizer, **options)
    ours = [value for value, _ in lm.loglikelihood(scored(pairs))]
    assert ours == pytest.approx([alone(model, tokenizer, *pair) for pair in pairs], rel=1e-5)
    assert lm.engine.abilities.sharing
    assert lm.engine.reader.work.tokens < sum(len(context) for context, _ in pairs)


def test_answers_and_rolling_scores_are_those_of_lm_evals_own_model(tokenizer: Any) -> None:
    model, pairs = remapped("self-extend"), keyed_pairs()[:12]
    ours, theirs = engine_lm(model, tokenizer, batch_size=4, chunk=30), plain_lm(model, tokenizer, batch_size=4)
    assert ours.generate_until(prompted(pairs)) == theirs.generate_until(prompted(pairs))
    texts = rolled(words(random.Random(0), L - 2), words(random.Random(1), 200))
    assert ours.loglikelihood_rolling(texts) == pytest.approx(theirs.loglikelihood_rolling(texts), rel=1e-5)
