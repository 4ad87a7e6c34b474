"""What `rope_passkey.yaml` names: the documents, made on the spot, and the score of an answer."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

from datasets import Dataset
from transformers import AutoTokenizer, PreTrainedTokenizerBase

import rope_scaling.eval.lm  # noqa: F401  makes plain `lm_eval --tasks FOLDER/rope_passkey.yaml` know rope-hf
from rope_scaling.eval.tasks.passkey.prompt import passkey_document

LENGTHS = (1024, 2048, 4096)
DEPTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
SAMPLES = 2
PARAMETERS = ("lengths", "depths", "samples", "seed")


def dataset(
    lengths: Sequence[int] = LENGTHS,
    depths: Sequence[float] = DEPTHS,
    samples: int = SAMPLES,
    seed: int = 0,
    **model_args: Any,
) -> dict[str, Dataset]:
    """The task's only split, for lm-eval, which hands over `--metadata` and `--model_args` as one.

    Raises:
        ValueError: A misspelt or impossible parameter, or no tokenizer among the model's arguments.
    """
    for name in model_args:
        if close := difflib.get_close_matches(name, PARAMETERS, n=1, cutoff=0.85):
            raise ValueError(f"unknown metadata {name!r} for rope_passkey: did you mean {close[0]!r}?")
    tokenizer = load_tokenizer(model_args)
    return passkey_dataset(tokenizer, lengths, depths, samples, seed, model_args.get("add_bos_token"))


def passkey_dataset(
    tokenizer: PreTrainedTokenizerBase,
    lengths: Sequence[int],
    depths: Sequence[float],
    samples: int,
    seed: int,
    add_bos_token: bool | None = None,
) -> dict[str, Dataset]:
    """Every sample of every depth of every length, lengths by turns: so `--limit` takes as many of each."""
    _check(lengths, depths, samples, seed)
    special: dict[str, Any] = {} if add_bos_token is None else {"add_special_tokens": add_bos_token}

    def count(text: str) -> int:  # as HFLM encodes prompts
        return len(tokenizer(text, verbose=False, **special).input_ids)

    cells = product(range(samples), depths, lengths)
    documents = [passkey_document(count, length, depth, index, seed) for index, depth, length in cells]
    return {"test": Dataset.from_list(documents)}


def load_tokenizer(model_args: Mapping[str, Any]) -> PreTrainedTokenizerBase:
    """The tokenizer that HFLM loads for the same arguments."""
    named = [model_args.get(name) for name in ("tokenizer", "pretrained", "model")]
    name = next((name for name in named if isinstance(name, str) and name), None)
    if name is None:
        raise ValueError(
            "rope_passkey measures its prompts with the model's tokenizer and was given none: pass "
            '--model_args pretrained=CHECKPOINT, or --metadata \'{"tokenizer": "CHECKPOINT"}\''
        )
    keys = ("revision", "trust_remote_code", "subfolder", "add_bos_token", "gguf_file")
    options = {key: model_args[key] for key in keys if model_args.get(key) is not None}
    if model_args.get("tokenizer"):
        options.pop("gguf_file", None)
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(name, **options)
    return tokenizer


def process_results(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
    """1 where the key stands in the answer as a number of its own, under `acc` and the document's length."""
    found = re.search(rf"(?<!\d){doc['answer']}(?!\d)", results[0]) is not None
    return {"acc": float(found), str(doc["length"]): float(found)}


def _check(lengths: Sequence[int], depths: Sequence[float], samples: int, seed: int) -> None:
    if not _is_list(lengths, int) or min(lengths) < 1:
        raise ValueError(f"lengths must be a list of token counts such as [1024, 2048], got {lengths!r}")
    if not _is_list(depths, int, float) or not all(0 <= depth <= 1 for depth in depths):
        raise ValueError(f"depths must be a list of numbers from 0 to 1, got {depths!r}")
    if not isinstance(samples, int) or samples < 1:
        raise ValueError(f"samples, the number for each length and depth, must be at least 1, got {samples!r}")
    if not isinstance(seed, int):
        raise ValueError(f"seed must be an integer, got {seed!r}")


def _is_list(values: object, *kinds: type) -> bool:
    if isinstance(values, str) or not isinstance(values, Sequence) or not values:
        return False
    return all(isinstance(value, kinds) and not isinstance(value, bool) for value in values)
