"""Our tasks as configurations for lm-eval's Python interface, measured by a tokenizer that is at hand."""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from datasets import Dataset
from lm_eval.tasks._yaml_loader import load_yaml
from transformers import PreTrainedTokenizerBase

from rope_scaling.eval.tasks.common.cache import cached, fingerprint
from rope_scaling.eval.tasks.common.generated import Generated
from rope_scaling.eval.tasks.common.parameters import DEPTHS, LENGTHS, SAMPLES, check_grid

FOLDER = Path(__file__).resolve().parent

_GRID = ("lengths", "depths", "samples", "seed", "first")

Rows = list[dict[str, Any]]


def rope_tasks(tokenizer: PreTrainedTokenizerBase, names: Sequence[str], **metadata: Any) -> list[dict[str, Any]]:
    """Return what `simple_evaluate(tasks=[...])` takes.

    Args:
        tokenizer: the model's; prompts are exact in its tokens.
        names: of tasks or groups; a group stands for its tasks.
        metadata: as for `--metadata`: `lengths`, `depths`, `samples`, `seed` and what a task takes beside them;
            `add_bos_token` where the model was given one.

    Raises:
        ValueError: No task or group has such a name.
    """
    return [_lazy(name, tokenizer, metadata) for name in rope_names(names)]


def rope_names(names: Sequence[str]) -> list[str]:
    """Return tasks in the place of groups, each once, in order.

    Raises:
        ValueError: No task or group has such a name.
    """
    known, wanted = _known(), dict[str, None]()
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f": did you mean {close[0]!r}?" if close else ""
            raise ValueError(f"unknown task {name!r}{hint} ({', '.join(known)})")
        config = load_yaml(known[name], resolve_func=False)
        wanted |= dict.fromkeys(config["task"] if "group" in config else [name])
    return list(wanted)


def rope_options(name: str) -> dict[str, Any]:
    """Return what a task takes beside the grid, with what each is unless told."""
    make = load_yaml(_known()[name])["custom_dataset"]
    if isinstance(make, Generated):
        return dict(make.options)
    parameters = inspect.signature(make).parameters.values()
    plain = [one for one in parameters if one.kind is not one.VAR_KEYWORD and one.name not in _GRID]
    return {one.name: one.default for one in plain}


def rope_config(name: str, documents: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return lm-eval's configuration of a task with the documents that it is to ask."""
    config: dict[str, Any] = load_yaml(_known()[name])
    return config | {"custom_dataset": lambda **_: {"test": Dataset.from_list([dict(one) for one in documents])}}


def rope_rows(
    name: str,
    tokenizer: PreTrainedTokenizerBase,
    lengths: Sequence[int] = LENGTHS,
    samples: int = SAMPLES,
    depths: Sequence[float] = DEPTHS,
    seed: int = 0,
    **metadata: Any,
) -> Rows:
    """Return a task's documents, lengths by turns, from disk where they were made before.

    Args:
        name: of a task.
        tokenizer: the model's.
        lengths: tokens.
        samples: for each length, and each depth where a task has depths.
        depths: where what is asked for stands.
        seed: of everything random.
        metadata: what the task takes beside them.
    """
    check_grid(lengths, depths, samples, seed)
    make = load_yaml(_known()[name])["custom_dataset"]
    given = {**metadata, "tokenizer": tokenizer, "depths": depths, "seed": seed}
    if name == "rope_longppl":  # its documents depend on a whole model
        rows: Rows = make(**given, lengths=lengths, samples=samples)["test"].to_list()
        return rows
    kept = functools.partial(_samples, make, tokenizer, given, samples)
    if name.startswith("rope_ppl"):  # its documents lie between two of the lengths
        return _by_turns(kept(lengths))
    by_length = [[row for sample in kept([length]) for row in sample] for length in lengths]
    return _by_turns(by_length)


def _by_turns(groups: Sequence[Rows]) -> Rows:
    return [row for turn in zip_longest(*groups) for row in turn if row is not None]


def _samples(
    make: Callable[..., Mapping[str, Dataset]],
    tokenizer: PreTrainedTokenizerBase,
    given: Mapping[str, Any],
    samples: int,
    lengths: Sequence[int],
) -> list[Rows]:
    """Return what each sample is asked by, from disk where it was made before."""

    def some(start: int, stop: int) -> list[Rows]:
        made = [make(**given, lengths=lengths, samples=number + 1, first=number) for number in range(start, stop)]
        return [one["test"].to_list() for one in made]

    # a task and its `_mc` ask the same documents
    name = getattr(make, "name", None) or f"{make.__module__.split('.')[-2]}-{make.__name__}"
    options = {key: value for key, value in given.items() if key not in ("tokenizer", "text")}
    key = fingerprint(tokenizer, given.get("add_bos_token"), given.get("text"), name, list(lengths), options)
    title = f"{name}-{'-'.join(map(str, lengths))}-{given['seed']}"
    return cached(some, samples, folder="tasks", name=title[:100], key=key)


def _lazy(name: str, tokenizer: PreTrainedTokenizerBase, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return lm-eval's configuration of a task whose documents are made when they are asked for."""
    config: dict[str, Any] = load_yaml(_known()[name])
    make = functools.partial(config["custom_dataset"], **{**metadata, "tokenizer": tokenizer})
    # lm-eval's own metadata (the task's version) are not ours
    return config | {"custom_dataset": lambda **_: make()}


def _known() -> dict[str, Path]:
    return {path.stem: path for path in sorted(FOLDER.glob("**/rope_*.yaml"))}
