"""Our tasks as configurations for lm-eval's Python interface, measured by a tokenizer that is at hand."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lm_eval.tasks._yaml_loader import load_yaml
from transformers import PreTrainedTokenizerBase

FOLDER = Path(__file__).resolve().parent


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
    known = {path.stem: path for path in sorted(FOLDER.glob("**/rope_*.yaml"))}
    return [_config(known[name], tokenizer, metadata) for name in _expanded(names, known)]


def _expanded(names: Sequence[str], known: Mapping[str, Path]) -> list[str]:
    """Return the names of tasks, each once, in order."""
    wanted: dict[str, None] = {}
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f": did you mean {close[0]!r}?" if close else ""
            raise ValueError(f"unknown task {name!r}{hint} ({', '.join(known)})")
        config = load_yaml(known[name], resolve_func=False)
        wanted |= dict.fromkeys(config["task"] if "group" in config else [name])
    return list(wanted)


def _config(path: Path, tokenizer: PreTrainedTokenizerBase, metadata: Mapping[str, Any]) -> dict[str, Any]:
    config: dict[str, Any] = load_yaml(path)
    make = functools.partial(config["custom_dataset"], **{**metadata, "tokenizer": tokenizer})
    # lm-eval's own metadata (the task's version) are not ours
    return config | {"custom_dataset": lambda **_: make()}
