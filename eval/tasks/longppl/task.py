"""What `rope_longppl.yaml` names: one request for each key token, so that every scheme is asked for the same ones."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

import rope_scaling.eval.lm  # noqa: F401  makes plain `lm_eval --tasks FILE.yaml` know rope-hf
from rope_scaling.eval.tasks.common.parameters import (
    DEPTHS,
    LENGTHS,
    SAMPLES,
    check_grid,
    check_number,
    refuse_misspelt,
)
from rope_scaling.eval.tasks.common.stretch import Stretch
from rope_scaling.eval.tasks.common.tokens import counter, load_tokenizer, tokenizing
from rope_scaling.eval.tasks.longppl.contrast import ALPHA, BETA, LEAST, SHORT, contrast, key_tokens
from rope_scaling.patches import patch_model
from rope_scaling.schemes import parse_scheme


def dataset(
    lengths: Sequence[int] = LENGTHS,
    depths: Sequence[float] = DEPTHS,
    samples: int = SAMPLES,
    seed: int = 0,
    evaluator: Any = None,
    evaluator_scheme: str | None = None,
    short: int = SHORT,
    alpha: float = ALPHA,
    beta: float = BETA,
    text: str | None = None,
    **metadata: Any,
) -> dict[str, Dataset]:
    """Return the key tokens of `samples` texts of each length.

    Args:
        lengths: tokens of a text.
        depths: of other tasks in the same run.
        samples: texts of each length.
        seed: shifts where texts begin.
        evaluator: a checkpoint that finds the key tokens; its tokenizer must be the model's own.
        evaluator_scheme: what it is patched with, such as "yarn:factor=4".
        short: tokens of its short context.
        alpha: see `key_tokens`.
        beta: see `key_tokens`.
        text: a file; None is the text that the package carries.
        metadata: arguments of the model that is tested.

    Raises:
        ValueError: No evaluator, another tokenizer, or fewer than `LEAST` key tokens of a length.
    """
    refuse_misspelt("rope_longppl", metadata)
    check_grid(lengths, depths, samples, seed)
    check_number("short", short, 1)
    tokenizer = load_tokenizer(metadata, "rope_longppl")
    found: list[dict[str, Any]] = []
    for length in lengths:
        if short >= length:
            raise ValueError(f"short must be below every length: got short={short} for a length of {length}")
        rows: list[dict[str, Any]] = []
        for index in range(samples):
            piece = _piece(tokenizer, metadata, text, length, index, seed)
            made = _documents(tokenizer, metadata, _evaluator(evaluator, evaluator_scheme), piece, short, alpha, beta)
            rows += [{**row, "length": length, "index": index, "seed": seed} for row in made]
        _refuse_few(len(rows), length, short, samples)
        found += rows
    return {"test": Dataset.from_list(found)}


def process_results(doc: Mapping[str, Any], results: Sequence[tuple[float, bool]]) -> dict[str, float]:
    """Return the token's nats, for LongPPL over all and under the text's length."""
    nats = -results[0][0]
    return {"longppl": nats, "nll": nats, str(doc["length"]): nats}


def exponential(nats: Sequence[float]) -> float:
    """Return the exponential of the mean."""
    return math.exp(math.fsum(nats) / len(nats))


def _refuse_few(found: int, length: int, short: int, samples: int) -> None:
    if found < LEAST:
        raise ValueError(
            f"rope_longppl: the evaluator finds {found} key tokens in {samples} texts of {length} tokens (short "
            f"context: {short}); below {LEAST} nothing can be concluded: ask for more samples, longer texts, another "
            "text with more to look back for (code, contracts), or an evaluator that looks further back"
        )


def _piece(
    tokenizer: PreTrainedTokenizerBase,
    metadata: Mapping[str, Any],
    text: str | None,
    length: int,
    index: int,
    seed: int,
) -> str:
    stretch = Stretch(text, index, seed, counter(tokenizer, metadata.get("add_bos_token")))
    stretch.need(length)
    return stretch.text[: stretch.cut(length)]


def _documents(
    tokenizer: PreTrainedTokenizerBase,
    metadata: Mapping[str, Any],
    evaluator: tuple[Any, PreTrainedTokenizerBase],
    text: str,
    short: int,
    alpha: float,
    beta: float,
) -> Iterator[dict[str, Any]]:
    """Yield a request for each key token that the harness would tokenize as itself."""
    model, own = evaluator
    bos = metadata.get("add_bos_token")
    tokenize = tokenizing(tokenizer, bos)
    if not tokenizer.is_fast:
        raise ValueError("rope_longppl needs to know where tokens stand in the text: use a fast tokenizer")
    encoded = tokenize(text, return_offsets_mapping=True)
    ids, offsets = encoded["input_ids"], encoded["offset_mapping"]
    if tokenizing(own, bos)(text)["input_ids"] != ids:
        raise ValueError("the evaluator's tokenizer splits the text otherwise: take one of the model's own family")
    key = key_tokens(*contrast(model, torch.tensor(ids), short), alpha, beta)
    for place in (key.nonzero().flatten() + short).tolist():
        start, stop = offsets[place - 1][1], offsets[place][1]
        if _alone(tokenize, text, start, stop, ids, place):
            yield {"input": text[:start], "answer": text[start:stop], "prompt_tokens": place, "scored_tokens": 1}


def _alone(tokenize: Any, text: str, start: int, stop: int, ids: Sequence[int], place: int) -> bool:
    """Whether text before and with the token are tokenized as in the whole: a part of a character is not."""
    before, after = tokenize(text[:start])["input_ids"], tokenize(text[:stop])["input_ids"]
    return start < stop and before == ids[:place] and after == ids[: place + 1]


def _evaluator(checkpoint: Any, scheme: str | None) -> tuple[Any, PreTrainedTokenizerBase]:
    if not isinstance(checkpoint, str):
        raise ValueError(
            "rope_longppl needs a checkpoint that finds the key tokens, the same for every scheme: --metadata "
            '\'{"evaluator": "CHECKPOINT"}\', one that uses long contexts well; with "evaluator_scheme": '
            '"yarn:factor=4" it is patched first'
        )
    return _loaded(checkpoint, scheme)


@functools.lru_cache(maxsize=1)
def _loaded(checkpoint: str, scheme: str | None) -> tuple[Any, PreTrainedTokenizerBase]:
    model: Any = AutoModelForCausalLM.from_pretrained(checkpoint, dtype="auto")
    model = model.to("cuda" if torch.cuda.is_available() else "cpu").eval()
    if model.dtype == torch.float16 and model.device.type == "cpu":
        model = model.float()
    if scheme is not None:
        patch_model(model, parse_scheme(scheme))
    return model, AutoTokenizer.from_pretrained(checkpoint)
