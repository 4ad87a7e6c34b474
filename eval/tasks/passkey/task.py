"""What `rope_passkey.yaml` names: the documents, made on the spot, and the score of an answer."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

from datasets import Dataset
from transformers import PreTrainedTokenizerBase

import rope_scaling.eval.lm  # noqa: F401  makes plain `lm_eval --tasks FOLDER/rope_passkey.yaml` know rope-hf
from rope_scaling.eval.tasks.common.cell import Cell
from rope_scaling.eval.tasks.common.generated import CHOICES
from rope_scaling.eval.tasks.common.needles import distinct, number
from rope_scaling.eval.tasks.common.parameters import DEPTHS, LENGTHS, SAMPLES, check_grid, refuse_misspelt
from rope_scaling.eval.tasks.common.tokens import counter, load_tokenizer
from rope_scaling.eval.tasks.passkey.prompt import passkey_document


def dataset(
    lengths: Sequence[int] = LENGTHS,
    depths: Sequence[float] = DEPTHS,
    samples: int = SAMPLES,
    seed: int = 0,
    first: int = 0,
    **model_args: Any,
) -> dict[str, Dataset]:
    """The task's only split, for lm-eval, which hands over `--metadata` and `--model_args` as one.

    `first` leaves out the samples before that one.

    Raises:
        ValueError: A misspelt or impossible parameter, or no tokenizer among the model's arguments.
    """
    refuse_misspelt("rope_passkey", model_args)
    tokenizer = load_tokenizer(model_args, "rope_passkey")
    return passkey_dataset(tokenizer, lengths, depths, samples, seed, model_args.get("add_bos_token"), first)


def passkey_dataset(
    tokenizer: PreTrainedTokenizerBase,
    lengths: Sequence[int],
    depths: Sequence[float],
    samples: int,
    seed: int,
    add_bos_token: bool | None = None,
    first: int = 0,
) -> dict[str, Dataset]:
    """Every sample of every depth of every length, lengths by turns: so `--limit` takes as many of each."""
    check_grid(lengths, depths, samples, seed)
    count = counter(tokenizer, add_bos_token)
    cells = product(range(first, samples), depths, lengths)
    documents = [passkey_document(count, length, depth, index, seed) for index, depth, length in cells]
    return {"test": Dataset.from_list(documents)}


def choice_dataset(**metadata: Any) -> dict[str, Dataset]:
    """Return the same questions, each with four numbers to choose from."""
    documents = dataset(**metadata)["test"].to_list()
    return {"test": Dataset.from_list([{**document, **_choices(document)} for document in documents])}


def _choices(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the key among three others, shuffled, and its place."""
    cell = Cell("rope_passkey", document["length"], document["depth"], document["index"], document["seed"])
    keys = [document["answer"], *distinct(number, cell.rng("wrong"), CHOICES - 1, taken=[document["answer"]])]
    cell.rng("choices").shuffle(keys)
    return {"choices": keys, "gold": keys.index(document["answer"])}


def process_results(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
    """1 where the key stands in the answer as a number of its own, under `acc` and the document's length."""
    found = re.search(rf"(?<!\d){doc['answer']}(?!\d)", results[0]) is not None
    return {"acc": float(found), str(doc["length"]): float(found)}
