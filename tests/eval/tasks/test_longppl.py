from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from rope_scaling.eval.tasks.longppl.contrast import contrast, key_tokens
from rope_scaling.eval.tasks.longppl.task import dataset, exponential, process_results
from tests.eval.tasks.tokenizers import TINY, tokenizer
from tests.eval.tiny import tiny_checkpoint, tiny_llama, tiny_text


def nats(model: Any, ids: torch.Tensor, place: int, start: int) -> float:
    """One token from one plain forward over what it may see."""
    with torch.no_grad():
        logits = model(ids[None, start:place]).logits[0, -1].log_softmax(-1)
    return -logits[ids[place]].item()


def test_contrast_is_what_a_forward_for_each_token_says() -> None:
    model, ids = tiny_llama(), tiny_text(60)
    long, short = contrast(model, ids, short=16, step=4)
    for place in range(16, 60):
        shared = 4 * ((place - 16) // 4)  # where the short context of its four tokens begins
        assert long[place - 16].item() == pytest.approx(nats(model, ids, place, 0), abs=1e-4)
        assert short[place - 16].item() == pytest.approx(nats(model, ids, place, shared), abs=1e-4)


def test_a_key_token_gains_more_than_alpha_and_is_likelier_than_beta() -> None:
    long = torch.tensor([0.5, 0.5, 2.5, 1.9])
    short = torch.tensor([3.0, 2.4, 9.0, 3.9])
    assert key_tokens(long, short).tolist() == [True, False, False, False]
    assert key_tokens(long, short, alpha=1.5, beta=-3.0).tolist() == [True, True, True, True]
    with pytest.raises(ValueError, match="same tokens"):
        key_tokens(long, short[1:])


def test_every_document_is_one_key_token_of_the_text() -> None:
    asked = dataset([256], samples=4, short=48, alpha=0.5, pretrained=TINY, evaluator=TINY)["test"].to_list()
    assert len(asked) >= 100
    for row in asked[::10]:
        before, after = (tokenizer()(text).input_ids for text in (row["input"], row["input"] + row["answer"]))
        assert after[:-1] == before
        assert len(before) == row["prompt_tokens"] >= 48


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (
            {"evaluator": TINY, "samples": 1},
            "key tokens in 1 texts of 256 tokens .* below 100 nothing can be concluded",
        ),
        ({}, "needs a checkpoint that finds the key tokens"),
        ({"evaluator": TINY, "short": 256}, "short must be below every length: got short=256"),
        ({"evaluator": TINY, "evaluators": 1}, "did you mean 'evaluator'"),
    ],
)
def test_nothing_is_concluded_from_too_little(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        dataset([256], **{"samples": 2, "short": 48, "pretrained": TINY, **options})


def test_an_evaluator_of_another_vocabulary_is_refused(tmp_path: Any) -> None:
    other = str(tiny_checkpoint(tmp_path))
    with pytest.raises(ValueError, match="splits the text otherwise"):
        dataset([256], samples=1, short=48, pretrained=TINY, evaluator=other)


def test_longppl_is_the_exponential_of_the_mean_over_key_tokens() -> None:
    told = [process_results({"length": 512}, [(score, False)]) for score in (-1.0, -3.0)]
    assert exponential([one["longppl"] for one in told]) == pytest.approx(math.exp(2))
    assert [one["512"] for one in told] == [1.0, 3.0]
