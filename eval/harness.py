"""lm-eval's own command line and evaluator, with our model and tasks in reach."""

from __future__ import annotations

import importlib.util
import logging
import sys
from argparse import ArgumentParser, Namespace
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rope_scaling.eval.harness_options import add_options, move_options, said_in_file
from rope_scaling.eval.intervals import wilson

if TYPE_CHECKING:
    from rope_scaling.eval.lm import RopeHFLM

TASKS = Path(__file__).resolve().parent / "tasks"
"""What `lm_eval --include_path` needs to find our tasks."""

PROGRAM = "rope-scaling lm-eval"


def main(argv: list[str]) -> None:
    """Run lm-eval's command line on `argv`: `run`, `ls`, `validate`, or the options of `run` alone."""
    require_lm_eval()
    from lm_eval._cli import HarnessCLI
    from lm_eval.utils import setup_logging

    setup_logging()
    cli = HarnessCLI()
    _rename(cli)
    add_options(cli)
    with _arguments(argv):
        args: Namespace = cli.parse_args()
    if "include_path" in args:
        args.include_path = _include_paths(args)
    move_options(args)
    if args.command != "run":
        cli.execute(args)
        return
    _refuse_request_cache(args)
    from rope_scaling.eval.lm import truncation_tallies

    with truncation_tallies() as tallies, _quiet():
        cli.execute(args)
    if tallies:
        print(truncation_note(sum(tallies, Counter())))


def evaluate_passkey(
    model: RopeHFLM | Mapping[str, Any],
    lengths: Sequence[int],
    depths: Sequence[float] = (0.0, 0.25, 0.5, 0.75, 1.0),
    samples: int = 2,
    seed: int = 0,
    batch_size: int = 1,
) -> dict[str, Any]:
    """Run `rope_passkey` through lm-eval's evaluator, on prompts measured by the model's own tokenizer.

    Args:
        model: a `RopeHFLM`, or its arguments (`{"pretrained": ..., "scheme": "yarn", "factor": 2}`).
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
    import lm_eval
    from lm_eval.tasks import TaskManager

    from rope_scaling.eval.lm import RopeHFLM

    lm = model if isinstance(model, RopeHFLM) else RopeHFLM(**{"batch_size": batch_size, **model})
    before = Counter(lm.truncated)
    seeds = ("random_seed", "numpy_random_seed", "torch_random_seed", "fewshot_random_seed")
    evaluate: Any = lm_eval.simple_evaluate
    with _quiet():
        results = evaluate(
            lm,
            tasks=[_passkey_config(lm, lengths, depths, samples, seed)],
            task_manager=TaskManager(include_defaults=False),
            **dict.fromkeys(seeds),  # greedy answers need none: the caller's generators are not reseeded
        )
    truncated = dict(lm.truncated - before)
    return {"seed": seed, "rope": lm.rope(), "truncated_requests": truncated, **_summary(results)}


def truncation_note(truncated: Mapping[str, int]) -> str:
    """What to tell after a run."""
    told = [f"{number} {kind}" for kind, number in sorted(truncated.items()) if number]
    if not told:
        return "rope-hf: no request was truncated"
    return (
        f"rope-hf: TRUNCATED: {' and '.join(told)} requests were longer than the model and lost their "
        "beginning; what they scored is not about the whole text"
    )


def require_lm_eval() -> None:
    """ModuleNotFoundError, with the way out, unless lm-eval is installed."""
    if importlib.util.find_spec("lm_eval") is None:
        raise ModuleNotFoundError("lm-eval is not installed: pip install 'rope-scaling[eval]'", name="lm_eval")


def _passkey_config(
    lm: RopeHFLM, lengths: Sequence[int], depths: Sequence[float], samples: int, seed: int
) -> dict[str, Any]:
    from lm_eval.tasks._yaml_loader import load_yaml

    from rope_scaling.eval.tasks.passkey.task import passkey_dataset

    documents = passkey_dataset(lm.tokenizer, lengths, depths, samples, seed, lm.add_bos_token)
    config: dict[str, Any] = load_yaml(TASKS / "passkey" / "rope_passkey.yaml")
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


@contextmanager
def _arguments(argv: list[str]) -> Iterator[None]:
    """lm-eval's parser reads, and writes, `sys.argv`."""
    before = sys.argv
    sys.argv = [PROGRAM, *argv]
    try:
        yield
    finally:
        sys.argv = before


@contextmanager
def _quiet() -> Iterator[None]:
    """Without lm-eval's warnings that each length of `rope_passkey` has its own documents: it is meant to."""
    loggers = [logging.getLogger(f"lm_eval.{name}") for name in ("evaluator_utils", "api.task")]

    def of_others(record: logging.LogRecord) -> bool:
        return record.levelno != logging.WARNING or "rope_passkey" not in record.getMessage()

    for logger in loggers:
        logger.addFilter(of_others)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(of_others)


def _rename(cli: Any) -> None:
    """Help and errors speak of the command that was typed."""
    parsers: list[ArgumentParser] = [cli._parser, *cli._subparsers.choices.values()]
    for parser in parsers:
        parser.prog = parser.prog.replace("lm-eval", PROGRAM)
        parser.usage = parser.usage and parser.usage.replace("lm-eval ", f"{PROGRAM} ")
        parser.epilog = parser.epilog and parser.epilog.replace("lm-eval ", f"{PROGRAM} ")


def _include_paths(args: Namespace) -> list[str]:
    """Ours, and the user's own from the command line or a `--config` file; the latter win."""
    own = args.include_path
    if own is None:
        own = said_in_file(args).get("include_path")
    paths = [own] if isinstance(own, str) else list(own or [])
    return [str(TASKS), *(path for path in paths if Path(path).resolve() != TASKS)]


def _refuse_request_cache(args: Namespace) -> None:
    if args.cache_requests and any("rope_" in task for task in args.tasks or []):
        raise ValueError(
            "--cache_requests keeps prompts by the name of their task alone, so prompts of other lengths, "
            "seeds and tokenizers would come back: leave it out for generated tasks"
        )
