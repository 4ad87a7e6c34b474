from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from lm_eval.tasks._yaml_loader import load_yaml

from rope_scaling.eval.embedded import EMBEDDED
from rope_scaling.eval.tasks.configs import FOLDER
from rope_scaling.eval.tasks.ppl import task
from tests.eval.tasks.tokenizers import NAMES, tokenizer

MACBETH = EMBEDDED["macbeth"].read_text(encoding="utf-8")


def rows(make: Any, lengths: list[int], vocabulary: str = "trained", samples: int = 1, **options: Any) -> Any:
    return make(lengths=lengths, samples=samples, tokenizer=tokenizer(vocabulary), **options)["test"].to_list()


def tokens(text: str, vocabulary: str = "trained") -> int:
    return len(tokenizer(vocabulary)(text).input_ids)


@pytest.mark.parametrize("vocabulary", NAMES)
def test_ranges_follow_each_other_and_end_with_the_last_whole_word(vocabulary: str) -> None:
    asked = rows(task.by_position, [128, 256, 400], vocabulary)
    assert [row["metric"] for row in asked] == ["0-128", "128-256", "256-400"]
    for before, row in zip([None, *asked], asked, strict=False):
        if before is not None:
            assert row["input"] == before["input"] + before["answer"]
        whole = row["input"] + row["answer"]
        assert row["prompt_tokens"] == tokens(row["input"], vocabulary)
        assert row["prompt_tokens"] + row["scored_tokens"] == tokens(whole, vocabulary) <= row["length"]
        following = MACBETH[MACBETH.index(whole) + len(whole) :].split()[0]
        assert tokens(f"{whole} {following}", vocabulary) >= row["length"]


def test_a_range_does_not_depend_on_other_lengths_or_texts() -> None:
    (wanted,) = [row for row in rows(task.by_position, [256, 512]) if row["metric"] == "256-512"]
    assert wanted in rows(task.by_position, [128, 256, 512, 700], samples=3)


def test_texts_begin_with_a_line_far_from_each_other() -> None:
    asked = rows(task.by_length, [300], samples=4, seed=5)
    starts = sorted(MACBETH.index(row["input"] + row["answer"][:80]) for row in asked)
    assert min(after - before for before, after in pairwise(starts)) > len(MACBETH) / 10
    assert all(MACBETH[:start].rstrip(" ")[-1:] in ("", "\n") for start in starts)


def test_the_stride_variant_scores_only_the_last_tokens_of_full_windows() -> None:
    asked = rows(task.by_stride, [300], stride=32)
    assert len(asked) == 4
    for row in asked:
        assert 290 <= tokens(row["input"] + row["answer"]) <= 300
        assert abs(row["scored_tokens"] - 32) <= 8
    for before, row in pairwise(asked):
        assert MACBETH.index(row["input"]) > MACBETH.index(before["input"])


def test_the_window_scores_the_same_text_but_sees_no_more_than_itself() -> None:
    whole = rows(task.by_position, [256, 600])
    pieces = rows(task.by_window, [256, 600], window=256, stride=32)
    for metric in ("0-256", "256-600"):
        scored = "".join(row["answer"] for row in pieces if row["metric"] == metric)
        assert scored == next(row["answer"] for row in whole if row["metric"] == metric)
    assert all(tokens(row["input"] + row["answer"]) <= 256 for row in pieces)
    assert all(tokens(row["input"] + row["answer"]) >= 240 for row in pieces[1:])


def test_sums_weigh_every_token_the_same() -> None:
    answers = [({"scored_tokens": 10, "metric": "0-16"}, -20.0), ({"scored_tokens": 30, "metric": "16-64"}, -30.0)]
    told = [task.process_results(doc, [(score, False)]) for doc, score in answers]
    assert [one[metric] for one, metric in zip(told, ("0-16", "16-64"), strict=True)] == [2.0, 1.0]
    assert task.per_token([one["nll"] for one in told]) == 50 / 40
    assert task.perplexity([one["perplexity"] for one in told]) == pytest.approx(math.exp(1.25))


def test_the_harness_scores_what_a_plain_forward_scores() -> None:
    from transformers import AutoModelForCausalLM

    from rope_scaling.eval.lm import RopeHFLM

    checkpoint = str(EMBEDDED["tiny-llama-512"])
    lm = RopeHFLM(checkpoint, batch_size=1)
    (_, row) = rows(task.by_position, [64, 128])
    ((told, _),) = lm._loglikelihood_tokens(
        [((row["input"], row["answer"]), *lm._encode_pair(row["input"], row["answer"]))]
    )
    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    ids = torch.tensor([tokenizer()(row["input"] + row["answer"]).input_ids])
    with torch.no_grad():
        logs = model(ids).logits[0, :-1].log_softmax(-1)
    wanted = logs[torch.arange(ids.shape[1] - 1), ids[0, 1:]][row["prompt_tokens"] - 1 :]
    assert len(wanted) == row["scored_tokens"]
    assert told == pytest.approx(wanted.sum().item(), abs=2e-2)  # the checkpoint is float16


@pytest.mark.parametrize(
    ("make", "options", "told"),
    [
        (task.by_position, {"lengths": [10**6]}, r"has \d+ tokens, 1000000 are needed: name a longer text"),
        (task.by_position, {"lengths": [12, 13], "tokenizer": tokenizer("characters")}, "12-13 holds no whole word"),
        (task.by_stride, {"lengths": [256], "stride": 256}, "stride must be from 1 to 255"),
        (task.by_window, {"lengths": [256]}, "needs the length that the checkpoint was trained to"),
        (task.by_window, {"lengths": [256], "window": 128, "stride": 0}, "stride must be at least 1"),
        (task.by_length, {"lengths": [256], "windows": 128}, "unknown metadata 'windows' .* did you mean 'window'"),
    ],
)
def test_what_cannot_be_scored_is_told(make: Any, options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        make(**{"samples": 1, "tokenizer": tokenizer(), **options})


def test_the_stride_variant_says_what_it_is() -> None:
    assert "STRIDE VARIANT" in (FOLDER / "ppl" / "rope_ppl_stride.yaml").read_text()
    assert load_yaml(FOLDER / "ppl" / "rope_ppl_stride.yaml")["custom_dataset"] is task.by_stride
