"""`rope-scaling eval --backend vllm`: the tasks of a run, each scheme served by an engine of its own."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rope_scaling.eval.compare import Plan
from rope_scaling.eval.runner.asking import ask
from rope_scaling.eval.runner.entries import Entry
from rope_scaling.eval.runner.meter import Meter
from rope_scaling.eval.runner.sources import Source as Task
from rope_scaling.eval.runner.stored import StoredLM
from rope_scaling.eval.serving.model import make_model, vllm_arguments
from rope_scaling.eval.serving.overrides import Overrides, vllm_overrides
from rope_scaling.eval.store.answers import Answers
from rope_scaling.eval.store.keys import FORMAT, PACKAGES, digest
from rope_scaling.extend.documents import parse_document, read_document
from rope_scaling.extend.folder import Source
from rope_scaling.extend.where import find_folder, is_gguf
from rope_scaling.extend.wording import written_record
from rope_scaling.schemes import parse_scheme, scheme_options

BACKEND = "vllm"
SPEED_ALONE = frozenset(
    {"tensor_parallel_size", "data_parallel_size", "gpu_memory_utilization", "max_num_seqs", "enforce_eager"}
    | {"max_num_batched_tokens", "distributed_executor_backend", "device", "swap_space"}
)
"""Options by which the same answers come faster or slower."""

Told = Callable[[Task, str, Entry], None]


@dataclass(frozen=True)
class Serving:
    """One scheme, ready to be served.

    Attributes:
        scheme: as typed.
        overrides: of the config.
        arguments: of lm-eval's vLLM model.
        identity: what its answers are kept under.
    """

    scheme: str
    overrides: Overrides
    arguments: dict[str, Any]
    identity: dict[str, Any]


def read_source(checkpoint: str) -> Source:
    """Return the checkpoint's folder, from the Hub where it is a name there.

    Raises:
        ValueError: It is a GGUF file, no checkpoint, or one that was extended.
    """
    if is_gguf(checkpoint):
        raise ValueError("--backend vllm takes a folder or a name on the Hub, not a GGUF file")
    folder = find_folder(checkpoint)
    source = Source.read(folder, None if Path(checkpoint).exists() else checkpoint)
    if written_record(parse_document("config.json", read_document(folder / "config.json"))):
        raise ValueError(
            f"{checkpoint} is extended already, so vLLM would scale it twice: give the checkpoint that it was made "
            "from, and the scheme"
        )
    return source


def checkpoint_key(source: Source) -> str:
    """Return the key of a checkpoint that is not loaded: its config, and what its other files are."""
    files = [[one.name, one.size, one.path.stat().st_mtime_ns] for one in source.entries if one.is_weights]
    return digest([source.held["config.json"].decode(), files])


def plan_servings(
    source: Source,
    checkpoint: str,
    plan: Plan,
    length: int,
    dtype: str,
    options: Mapping[str, Any],
    tokenizer: str,
) -> list[Serving]:
    """Return every scheme of a plan as vLLM serves it, before any is started.

    Args:
        source: the checkpoint.
        checkpoint: as typed.
        plan: the schemes.
        length: of the longest text.
        dtype: as typed.
        options: of vLLM.
        tokenizer: its key.

    Raises:
        ValueError: vLLM cannot serve one of them.
    """
    servings = []
    for text in plan.schemes:
        scheme = parse_scheme(text)
        overrides = vllm_overrides(source, scheme, length, **plan.patch)
        arguments = vllm_arguments(checkpoint, overrides.values, length, dtype, plan.batch_size, options)
        identity = {
            "format": FORMAT,
            "backend": BACKEND,
            "checkpoint": checkpoint_key(source),
            "tokenizer": tokenizer,
            "rope": {"scheme": scheme.name, "options": scheme_options(scheme)},
            "rope_parameters": overrides.values.get("rope_parameters"),
            "dtype": dtype,
            "options": {name: value for name, value in options.items() if name not in SPEED_ALONE},
            "versions": {name: _installed(name) for name in (*PACKAGES, BACKEND)},
        }
        servings.append(Serving(text, overrides, arguments, identity))
    return servings


def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def run_servings(
    servings: list[Serving], tasks: Mapping[Task, int], answers: Answers, meter: Meter, done: Told
) -> None:
    """Start one scheme after another, ask it all tasks, and tell `done` of each as it is finished."""
    for serving in servings:
        meter.say(f"{serving.scheme}: starting vLLM")
        _ask(serving, tasks, answers, meter, done)
        gc.collect()  # vLLM frees its GPUs when its engine is gone; the next scheme needs them


def _ask(serving: Serving, tasks: Mapping[Task, int], answers: Answers, meter: Meter, done: Told) -> None:
    lm = make_model(serving.arguments, beyond=serving.arguments["max_model_len"] > serving.overrides.length)
    for task, tokens in tasks.items():
        label = f"{serving.scheme}: {task.name}"
        meter.say(label)
        stored = StoredLM(lm, answers, serving.identity, meter, label)
        entry = ask(stored, task)
        meter.settle(tokens, sum(stored.seen.values()))
        done(task, serving.scheme, entry)
