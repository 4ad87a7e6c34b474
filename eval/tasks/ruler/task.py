"""RULER for lm-eval's evaluator: lm-eval's own prompts and score, without its pitfalls."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lm_eval.tasks
from datasets import Dataset
from lm_eval.tasks._yaml_loader import load_yaml
from transformers import PreTrainedTokenizerBase

from rope_scaling.eval.tasks.common.cache import cached, fingerprint
from rope_scaling.eval.tasks.common.parameters import DEPTHS, check_grid
from rope_scaling.eval.tasks.common.tokens import counter, tokenizing
from rope_scaling.eval.tasks.ruler.generate import NAMES, NEEDS_ESSAYS, samples

PACKAGES = ("lm_eval", "wonderwords", "nltk")  # that generate
FOLDER = Path(lm_eval.tasks.__file__).parent / "ruler"
QA = ("ruler_qa_squad", "ruler_qa_hotpot")
OWN = "_own_text"
"""Ends the names of tasks whose essays are another text: their scores are not RULER's."""


def ruler_tasks(
    tokenizer: PreTrainedTokenizerBase,
    names: Sequence[str],
    lengths: Sequence[int],
    samples: int = 10,
    seed: int = 0,
    *,
    text: str | None = None,
    add_bos_token: bool | None = None,
) -> list[dict[str, Any]]:
    """Return what `simple_evaluate(tasks=[...])` takes.

    Every length has its own samples, and they come by turns, so that `limit` takes as many of each. Prompts,
    generation budget and score are lm-eval's; a prompt and its budget never exceed the length.

    Args:
        tokenizer: the model's.
        names: as lm-eval's; "ruler" is all that run offline, with a warning that names the rest.
        lengths: tokens, those to generate included.
        samples: for each length.
        seed: of the samples.
        text: a UTF-8 file in place of the essays that lm-eval downloads; the tasks' names then say so.
        add_bos_token: where the model was given one.

    Raises:
        ValueError: An unknown name, a task that needs a download, or a length that is too short.
    """
    check_grid(lengths, DEPTHS, samples, seed)
    configs = []
    for name in ruler_names(names, text):
        rows = [ruler_rows(name, tokenizer, length, samples, seed, text, add_bos_token) for length in lengths]
        turns = [row for column in zip(*rows, strict=True) for row in column]
        configs.append(ruler_config(name, turns, lengths))
    return configs


def process_results(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
    """Return RULER's score, the share of the answers that the text holds, under `acc` and the length."""
    from lm_eval.tasks.ruler.common_utils import postprocess_pred, string_match_all

    score = float(string_match_all(postprocess_pred(list(results)), [doc["outputs"]]))
    return {"acc": score, str(doc["max_length"]): score}


def ruler_names(names: Sequence[str], text: str | None = None) -> list[str]:
    """Return the tasks, each once, under the names that their results will bear; "ruler" is all that run offline.

    Raises:
        ValueError: An unknown name, or a task that needs a download.
    """
    wanted = []
    for name in names:
        if name == "ruler":
            left = [*QA, *(() if text else NEEDS_ESSAYS)]
            warnings.warn(f"of RULER's 13 tasks {len(left)} need a download: {', '.join(left)}", stacklevel=3)
            wanted += [task for task in NAMES if task not in left]
        else:
            _refuse(name, text)
            wanted.append(name)
    return [name + OWN if name in NEEDS_ESSAYS else name for name in dict.fromkeys(wanted)]


def ruler_rows(
    name: str,
    tokenizer: PreTrainedTokenizerBase,
    length: int,
    number: int,
    seed: int,
    text: str | None = None,
    add_bos_token: bool | None = None,
) -> list[dict[str, Any]]:
    """Return the first `number` samples of one length, from disk where they were made before."""
    task = name.removesuffix(OWN)
    tokenize = tokenizing(tokenizer, add_bos_token)

    def make(start: int, stop: int) -> list[list[dict[str, Any]]]:
        # lm-eval's generators draw from one state: a later sample needs those before it
        rows = samples(task, tokenize, counter(tokenizer, add_bos_token), length, stop, seed, text)
        return [[row] for row in rows[start:]]

    key = fingerprint(tokenizer, add_bos_token, text, [version(package) for package in PACKAGES])
    made = cached(make, number, folder="ruler", name=f"{name}-{length}-{seed}", key=key)
    return [row for (row,) in made]


def ruler_config(name: str, documents: Sequence[Mapping[str, Any]], lengths: Sequence[int]) -> dict[str, Any]:
    """Return lm-eval's configuration with our documents and a plain mean for each length."""
    file = FOLDER / f"{name.removesuffix(OWN).removeprefix('ruler_')}.yaml"
    config: dict[str, Any] = load_yaml(file, resolve_func=False)
    mean = {"aggregation": "mean", "higher_is_better": True}
    config.pop("tag", None)
    return config | {
        "task": name,
        "custom_dataset": lambda **_: {"test": Dataset.from_list([dict(one) for one in documents])},
        "process_results": process_results,
        "metric_list": [{"metric": metric, **mean} for metric in ("acc", *map(str, lengths))],
    }


def _refuse(name: str, text: str | None) -> None:
    if name in QA:
        raise ValueError(
            f"{name} reads a question set that lm-eval downloads; here tasks are made offline: leave it out"
        )
    if name in NEEDS_ESSAYS and text is None:
        raise ValueError(
            f"{name} hides its needles in essays that lm-eval downloads: give text=FILE in their place (the scores are "
            "then not RULER's), or take rope_niah_* over the text that this package carries"
        )
    if name not in NAMES:
        close = difflib.get_close_matches(name, NAMES, n=1)
        hint = f": did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"unknown RULER task {name!r}{hint} (ruler, {', '.join(NAMES)})")
