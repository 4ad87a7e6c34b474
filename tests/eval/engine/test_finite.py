from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from tests.eval.engine.asking import engine_lm, keyed_pairs, model_of, prompted, scored

PAIRS = keyed_pairs()
REFUSAL = r"the model's output is not finite .*: try a wider dtype, such as --dtype float32"


def spoilt(value: float, model: PreTrainedModel | None = None) -> PreTrainedModel:
    """A model with one bad number in its head."""
    model = model or model_of()
    with torch.no_grad():
        model.get_output_embeddings().weight[7, 3] = value
    return model


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("rows", [1, 4])
def test_texts_by_a_model_whose_logits_are_no_numbers_are_refused(value: float, rows: int, tokenizer: Any) -> None:
    lm = engine_lm(spoilt(value), tokenizer, batch_size=rows)
    with pytest.raises(ValueError, match=REFUSAL):
        lm.generate_until(prompted(PAIRS), disable_tqdm=True)


@pytest.mark.parametrize("options", [{"num_beams": 2}, {"do_sample": True, "temperature": 1.0}])
def test_beams_and_samples_of_no_numbers_are_refused_too(options: dict[str, Any], tokenizer: Any) -> None:
    lm = engine_lm(spoilt(math.nan), tokenizer)
    with pytest.raises(ValueError, match=REFUSAL):
        lm.generate_until(prompted(PAIRS[:2], **options), disable_tqdm=True)


def test_choices_are_refused_by_the_same_words(tokenizer: Any) -> None:
    lm = engine_lm(spoilt(math.nan), tokenizer)
    with pytest.raises(ValueError, match=REFUSAL):
        lm.loglikelihood(scored(PAIRS), disable_tqdm=True)


def test_a_text_that_breaks_off_in_numbers_late_is_refused(tokenizer: Any) -> None:
    model, calls = model_of(), 0

    def late(module: Any, given: Any, output: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 4:
            output.logits[..., 5] = math.nan
        return output

    lm = engine_lm(model, tokenizer)
    assert lm.engine.abilities.chunks  # tried before the model breaks
    model.register_forward_hook(late)
    with pytest.raises(ValueError, match=REFUSAL):
        lm.generate_until(prompted(PAIRS[:1]), disable_tqdm=True)
    assert calls >= 4


def test_tokens_that_a_model_rules_out_are_no_fault(tokenizer: Any) -> None:
    model = model_of()

    def ruled_out(module: Any, given: Any, output: Any) -> Any:
        output.logits[..., 290:] = -math.inf  # as a padded vocabulary is
        return output

    model.register_forward_hook(ruled_out)
    lm = engine_lm(model, tokenizer)
    assert len(lm.generate_until(prompted(PAIRS), disable_tqdm=True)) == len(PAIRS)


def test_watching_changes_no_answer(tokenizer: Any) -> None:
    asked = prompted(PAIRS)
    lm = engine_lm(model_of(), tokenizer, batch_size=4)
    watched = lm.generate_until(asked, disable_tqdm=True)
    plain = super(type(lm), lm)._model_generate
    lm._model_generate = plain
    assert lm.generate_until(asked, disable_tqdm=True) == watched
