"""What two processes and one are asked in the tests: every kind of request, and more."""

from __future__ import annotations

import contextlib
import json
import runpy
import sys
from pathlib import Path
from typing import Any

import lm_eval
from datasets import Dataset
from lm_eval.tasks import TaskManager

from rope_scaling.eval.lm import RopeHFLM
from rope_scaling.eval.processes import Processes, join_processes
from tests.eval.engine.asking import keyed_pairs

MODEL = {"scheme": "dynamic-yarn", "factor": 6, "batch_size": "auto"}
TOO_LONG = {"scheme": "none", "allow_truncation": True}
"""Of the texts, some are longer than the tiny model."""
SCHEMES = ("none", "yarn:factor=8", "dynamic-ntk:factor=12")


def command(folder: Path) -> list[str]:
    """What `rope-scaling eval` is asked: choices, answers in words, and a text in three stretches."""
    text = folder / "text.txt"
    text.write_text("the quick brown fox jumps over a lazy dog again and again. " * 30)
    return [
        *(part for scheme in SCHEMES for part in ("--scheme", scheme)),
        *("--lengths", "272,320", "--text", str(text), "--texts", "3", "--stride", "16"),
        *("--tasks", "rope_passkey,rope_passkey_mc", "--depths", "0,1", "--samples", "2"),
    ]


def tasks() -> list[dict[str, Any]]:
    """lm-eval's kinds of tasks; the last has fewer documents than there are processes."""
    documents = [
        {"question": question or "z", "choices": [answer.strip() or "y", "no"], "text": question + answer}
        for question, answer in keyed_pairs()
    ]
    common = {"test_split": "test", "custom_dataset": lambda **_: {"test": Dataset.from_list(documents)}}
    choice = {"doc_to_text": "{{question}}", "doc_to_choice": "{{choices}}", "doc_to_target": 0}
    written = {"doc_to_text": "{{question}}", "doc_to_target": "{{choices[0]}}"}
    alone = {"custom_dataset": lambda **_: {"test": Dataset.from_list(documents[:1])}}
    acc, match = ({"metric": name, "aggregation": "mean", "higher_is_better": True} for name in ("acc", "exact_match"))
    nats = {"metric": "byte_perplexity", "aggregation": "weighted_perplexity", "higher_is_better": False}
    until = {"until": ["q"], "max_gen_toks": 5, "do_sample": False}
    return [
        {**common, **choice, "task": "choose", "output_type": "multiple_choice", "metric_list": [acc]},
        {**common, **written, "task": "write", "output_type": "generate_until", "metric_list": [match]}
        | {"generation_kwargs": until},
        {**common, "task": "roll", "output_type": "loglikelihood_rolling", "doc_to_text": ""}
        | {"doc_to_target": "{{text}}", "metric_list": [nats]},
        {**common, **choice, **alone, "task": "one_document", "output_type": "multiple_choice", "metric_list": [acc]},
    ]


def answers(checkpoint: str, **options: Any) -> dict[str, Any]:
    """Everything that lm-eval makes of a model's answers."""
    lm = RopeHFLM(checkpoint, **options)
    results = lm_eval.simple_evaluate(
        lm, tasks=tasks(), task_manager=TaskManager(include_defaults=False), bootstrap_iters=10
    )
    said = {"truncated": dict(lm.truncated), "tokens": lm.engine.told()["tokens_read"]}
    if results is not None:
        said |= {"results": results["results"], "samples": results["samples"]}
    return json.loads(json.dumps(said, default=str))


def write(processes: Processes, folder: Path, name: str, said: dict[str, Any]) -> None:
    """A file for each process."""
    (folder / f"{name}-{processes.index}.json").write_text(json.dumps(said))


if __name__ == "__main__":
    checkpoint, folder = sys.argv[1], Path(sys.argv[2])
    sys.argv = ["rope-scaling", *sys.argv[3:]]
    with contextlib.suppress(SystemExit):
        runpy.run_module("rope_scaling.eval", run_name="__main__")
    own = join_processes()
    write(own, folder, "scaled", answers(checkpoint, **MODEL))
    write(own, folder, "truncated", answers(checkpoint, **TOO_LONG))
