"""One generated task through lm-eval's evaluator, in silence, and the passkey task's results as a table."""

from __future__ import annotations

import importlib.util
import logging
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import TYPE_CHECKING, Any
from unittest import mock

from rope_scaling.eval.intervals import wilson

if TYPE_CHECKING:
    from rope_scaling.eval.lm import RopeHFLM
    from rope_scaling.eval.runner.stored import StoredLM

DEPTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Where passkeys are hidden: 0 the beginning, 1 the end."""

_MADE_HERE = r"(\[(Task: )?)?(rope|niah|ruler)_\w"
_MEANT = {
    # each length of a task has documents and a metric of its own
    "lm_eval.evaluator_utils": _MADE_HERE,
    "lm_eval.api.task": _MADE_HERE,
    # the unpatched model is asked beyond its trained length to show what it does there
    "transformers.generation.stopping_criteria": "This is a friendly reminder",
    # one model is patched for every scheme, not loaded again
    "lm_eval.models.huggingface": "`pretrained` model kwarg is not of type|Passed an already-initialized model",
}
"""How warnings begin that are of no use here, by logger."""


def evaluate_passkey(
    model: RopeHFLM | StoredLM | Mapping[str, Any],
    lengths: Sequence[int],
    depths: Sequence[float] = DEPTHS,
    samples: int = 2,
    seed: int = 0,
    batch_size: int = 1,
) -> dict[str, Any]:
    """Run `rope_passkey` through lm-eval's evaluator, on prompts measured by the model's own tokenizer.

    Args:
        model: a `RopeHFLM`, one with a store, or the arguments of one, such as
            `{"pretrained": ..., "scheme": "yarn", "factor": 2}`.
        lengths: tokens, the answer's room included.
        depths: where the key is hidden: 0 the beginning, 1 the end.
        samples: questions for each length and depth.
        seed: of the keys; the same seed asks every scheme the same questions.
        batch_size: for a model that is made here.

    Returns:
        JSON-ready: `accuracy` (a row for each length: accuracy, stderr, samples, and the 95 % interval), `cells`
        (a row for each length and depth), `truncated_requests` by type, and `rope`, what the model was.
    """
    require_lm_eval()
    from rope_scaling.eval.lm import RopeHFLM

    lm: Any = RopeHFLM(**{"batch_size": batch_size, **model}) if isinstance(model, Mapping) else model
    before = Counter(lm.truncated)
    results = evaluated(lm, _passkey_config(lm, lengths, depths, samples, seed), errors=True)
    truncated = dict(lm.truncated - before)
    return {"seed": seed, "rope": lm.rope(), "truncated_requests": truncated, **_summary(results)}


def evaluated(lm: Any, config: Mapping[str, Any], *, errors: bool = False) -> dict[str, Any]:
    """Run one generated task through lm-eval's evaluator, without examples, and return its results.

    `simple_evaluate` would reseed the caller's generators, ask git for a commit and print; greedy answers need none
    of it.

    Args:
        lm: the model.
        config: of the task.
        errors: have lm-eval tell standard errors too.

    Returns:
        lm-eval's results, the same in every process.
    """
    import lm_eval
    from lm_eval.tasks import TaskManager

    run: Any = lm_eval.evaluate
    manager: Any = TaskManager(include_defaults=False)
    with quiet(), mock.patch("lm_eval.api.task.tqdm", lambda documents, **_: documents):
        loaded = manager.load([{**config, "num_fewshot": 0}])
        results: dict[str, Any] = run(lm, loaded, bootstrap_iters=100_000 if errors else 0)
    return results


def require_lm_eval() -> None:
    """ModuleNotFoundError, with the way out, unless lm-eval is installed."""
    if importlib.util.find_spec("lm_eval") is None:
        raise ModuleNotFoundError("lm-eval is not installed: pip install 'rope-scaling[eval]'", name="lm_eval")


@contextmanager
def quiet() -> Iterator[None]:
    """Without warnings of what is meant to be, see `_MEANT`."""

    def of_others(record: logging.LogRecord) -> bool:
        meant = record.levelno == logging.WARNING and record.name in _MEANT
        return not (meant and re.match(_MEANT[record.name], record.getMessage()))

    for name in _MEANT:
        logging.getLogger(name).addFilter(of_others)
    try:
        yield
    finally:
        for name in _MEANT:
            logging.getLogger(name).removeFilter(of_others)


def _passkey_config(
    lm: RopeHFLM, lengths: Sequence[int], depths: Sequence[float], samples: int, seed: int
) -> dict[str, Any]:
    from lm_eval.tasks._yaml_loader import load_yaml

    from rope_scaling.eval.tasks.configs import FOLDER
    from rope_scaling.eval.tasks.passkey.task import passkey_dataset

    documents = passkey_dataset(lm.tokenizer, lengths, depths, samples, seed, lm.add_bos_token)
    config: dict[str, Any] = load_yaml(FOLDER / "passkey" / "rope_passkey.yaml")
    return config | {"custom_dataset": lambda **_: documents}


def _summary(results: Mapping[str, Any]) -> dict[str, Any]:
    scores, logged = results["results"]["rope_passkey"], results["samples"]["rope_passkey"]
    asked = sorted((one["doc"]["length"], one["doc"]["depth"], one["acc"]) for one in logged)
    rows = []
    for length, group in groupby(asked, key=lambda one: one[0]):
        stderr = scores[f"{length}_stderr,none"]
        found = [one[2] for one in group]
        row = {"length": length, "accuracy": scores[f"{length},none"], "samples": len(found)}
        interval = wilson(round(sum(found)), len(found))
        rows.append(row | {"stderr": None if stderr == "N/A" else stderr, "interval": interval})
    cells = []
    for (length, depth), group in groupby(asked, key=lambda one: one[:2]):
        found = [one[2] for one in group]
        cell = {"length": length, "depth": depth, "accuracy": sum(found) / len(found), "samples": len(found)}
        cells.append(cell)
    return {"accuracy": rows, "cells": cells}
