"""A mixed set of lm-eval tasks through lm-eval's evaluator, on the trained checkpoint of the package and on HFLM."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from datasets import Dataset
from lm_eval import simple_evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from transformers import AutoModelForCausalLM, AutoTokenizer

from rope_scaling.eval.embedded import EMBEDDED
from rope_scaling.eval.lm import RopeHFLM

CHECKPOINT = str(EMBEDDED["tiny-llama-512"])
TEXT = EMBEDDED["macbeth"].read_text(encoding="utf-8")
WORDS = [word for word in TEXT[20_000:60_000].split() if word.isalpha()]


def choices(rng: random.Random) -> dict[str, Any]:
    return {
        "context": " ".join(WORDS[(start := rng.randrange(4000)) : start + 40]),
        "options": [" ".join(rng.sample(WORDS, rng.randint(1, 4))) for _ in range(4)],
        "gold": rng.randrange(4),
    }


def last_word(rng: random.Random) -> dict[str, Any]:
    start = rng.randrange(4000)
    return {"context": " ".join(WORDS[start : start + 30]), "target": " " + WORDS[start + 30]}


def page(rng: random.Random) -> dict[str, Any]:
    start = rng.randrange(20_000)
    return {"page": TEXT[start : start + rng.choice([200, 900, 4000])]}


def split(make: Callable[[random.Random], dict[str, Any]], count: int, **_: Any) -> dict[str, Dataset]:
    rng = random.Random(0)
    return {"test": Dataset.from_list([make(rng) for _ in range(count)])}


def task(name: str, kind: str, documents: Callable[..., Any], **said: Any) -> dict[str, Any]:
    given = {"task": name, "custom_dataset": documents, "output_type": kind, "test_split": "test", "num_fewshot": 0}
    return given | {"dataset_path": "", "metadata": {"version": 1.0}} | said


MEAN = {"aggregation": "mean", "higher_is_better": True}
TASKS = [
    task(
        "choices",
        "multiple_choice",
        partial(split, choices, 6),
        doc_to_text="{{context}}",
        doc_to_choice="options",
        doc_to_target="gold",
        metric_list=[{"metric": name, **MEAN} for name in ("acc", "acc_norm")],
    ),
    task(
        "letters",  # one haystack, many questions, answers of one token
        "multiple_choice",
        partial(split, choices, 6),
        description=TEXT[30_000:30_400] + "\n\n",
        doc_to_text="{{context}}\nA. {{options[0]}}\nB. {{options[1]}}\nC. {{options[2]}}\nAnswer:",
        doc_to_choice=["A", "B", "C"],
        doc_to_target="{{gold % 3}}",
        metric_list=[{"metric": "acc", **MEAN}],
    ),
    task(
        "last_word",
        "loglikelihood",
        partial(split, last_word, 6),
        doc_to_text="{{context}}",
        doc_to_target="{{target}}",
        num_fewshot=2,
        fewshot_split="test",
        metric_list=[{"metric": "acc", **MEAN}, {"metric": "perplexity", "aggregation": "perplexity"}],
    ),
    task(
        "pages",
        "loglikelihood_rolling",
        partial(split, page, 4),
        doc_to_text="",
        doc_to_target="{{page}}",
        metric_list=[{"metric": "word_perplexity"}, {"metric": "bits_per_byte"}],
    ),
    task(
        "next_words",
        "generate_until",
        partial(split, last_word, 6),
        doc_to_text="{{context}}",
        doc_to_target="{{target}}",
        num_fewshot=3,
        fewshot_split="test",
        generation_kwargs={"until": ["\n"], "max_gen_toks": 12, "do_sample": False},
        metric_list=[{"metric": "exact_match", **MEAN}],
    ),
]


def results_of(lm: Any) -> dict[str, Any]:
    told: Any = simple_evaluate(lm, tasks=TASKS, task_manager=TaskManager(include_defaults=False))
    return told


@pytest.fixture(scope="module")
def theirs() -> dict[str, Any]:
    model = AutoModelForCausalLM.from_pretrained(CHECKPOINT).eval()
    return results_of(HFLM(model, tokenizer=AutoTokenizer.from_pretrained(CHECKPOINT), batch_size=4))


@pytest.mark.parametrize("options", [{"batch_size": "auto"}, {"batch_size": 1, "chunk": 64}], ids=str)
def test_every_kind_of_task_gives_the_numbers_of_hflm(theirs: dict[str, Any], options: dict[str, Any]) -> None:
    lm = RopeHFLM(CHECKPOINT, **options)
    lm.engine.pass_cost = 50.0
    ours = results_of(lm)
    assert ours["results"].keys() == theirs["results"].keys() == {one["task"] for one in TASKS}
    for name, samples in theirs["samples"].items():
        assert [one["doc_hash"] for one in ours["samples"][name]] == [one["doc_hash"] for one in samples]
        for mine, other in zip(ours["samples"][name], samples, strict=True):
            assert_same_answers(mine["resps"], other["resps"])
    for name, scores in theirs["results"].items():
        numbers = {key: value for key, value in scores.items() if isinstance(value, float)}
        assert {key: ours["results"][name][key] for key in numbers} == pytest.approx(numbers, rel=1e-5)
    assert lm.engine.reader.work.tokens < 0.75 * asked(theirs["samples"], lm)


def assert_same_answers(ours: Any, theirs: Any) -> None:
    for (mine,), (other,) in zip(ours, theirs, strict=True):
        if isinstance(other, (str, float)):
            assert mine == (other if isinstance(other, str) else pytest.approx(other, rel=1e-5))
        else:
            assert mine == (pytest.approx(other[0], rel=1e-5), other[1])


def asked(samples: dict[str, Any], lm: RopeHFLM) -> int:
    """Tokens of all requests together."""
    said = [argument for task in samples.values() for one in task for argument in one["arguments"]]
    return sum(len(lm.tok_encode("".join(part for part in one if isinstance(part, str)))) for one in said)
