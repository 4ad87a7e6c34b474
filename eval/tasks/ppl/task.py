"""What the `rope_ppl*` YAML files name: documents to score, nats per token, and their means."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from datasets import Dataset

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
from rope_scaling.eval.tasks.common.tokens import counter, load_tokenizer
from rope_scaling.eval.tasks.ppl import spans

STRIDE = 256  # as in the evaluations of PI and YaRN (arXiv 2306.15595, 2309.00071)

Spans = Callable[[Stretch], Iterable[spans.Span]]


def by_position(lengths: Sequence[int] = LENGTHS, text: str | None = None, **metadata: Any) -> dict[str, Dataset]:
    """Return the documents of `rope_ppl`: each range of positions of each text, given all before it."""
    return _dataset("rope_ppl", lambda stretch: spans.by_position(stretch, lengths), max, lengths, text, **metadata)


def by_length(lengths: Sequence[int] = LENGTHS, text: str | None = None, **metadata: Any) -> dict[str, Dataset]:
    """Return the documents of `rope_ppl_length`: each text at each length, all of it scored."""
    return _dataset(
        "rope_ppl_length", lambda stretch: spans.by_length(stretch, lengths), max, lengths, text, **metadata
    )


def by_stride(
    lengths: Sequence[int] = LENGTHS, stride: int = STRIDE, text: str | None = None, **metadata: Any
) -> dict[str, Dataset]:
    """Return the documents of `rope_ppl_stride`: the last tokens of windows of each length."""
    check_number("stride", stride, 1)

    def needed(lengths: Sequence[int]) -> int:
        return max(lengths) + (spans.WINDOWS - 1) * stride

    return _dataset(
        "rope_ppl_stride", lambda stretch: spans.by_stride(stretch, lengths, stride), needed, lengths, text, **metadata
    )


def by_window(
    lengths: Sequence[int] = LENGTHS,
    window: int | None = None,
    stride: int | None = None,
    text: str | None = None,
    **metadata: Any,
) -> dict[str, Dataset]:
    """Return the documents of `rope_ppl_window`: the tokens of `rope_ppl`, each given the last `window` only.

    Raises:
        ValueError: No `window`: it is the length that the checkpoint was trained to.
    """
    if window is None:
        raise ValueError(
            "rope_ppl_window needs the length that the checkpoint was trained to: --metadata '{\"window\": 8192}'"
        )
    check_number("window", window, 2)
    step = max(window // 8, 1) if stride is None else stride
    check_number("stride", step, 1)
    return _dataset(
        *("rope_ppl_window", lambda stretch: spans.by_window(stretch, lengths, window, step), max, lengths, text),
        **metadata,
    )


def process_results(doc: Mapping[str, Any], results: Sequence[tuple[float, bool]]) -> dict[str, Any]:
    """Return nats per token under the range's or length's name, and (nats, tokens) for the sums over all."""
    nats = -results[0][0]
    whole = (nats, doc["scored_tokens"])
    return {"nll": whole, "perplexity": whole, doc["metric"]: nats / doc["scored_tokens"]}


def per_token(items: Sequence[tuple[float, int]]) -> float:
    """Return nats per token over all that was scored."""
    return math.fsum(nats for nats, _ in items) / sum(tokens for _, tokens in items)


def perplexity(items: Sequence[tuple[float, int]]) -> float:
    """Return the exponential of `per_token`."""
    return math.exp(per_token(items))


def _dataset(
    task: str,
    made: Spans,
    needed: Callable[[Sequence[int]], int],
    lengths: Sequence[int],
    text: str | None,
    *,
    depths: Sequence[float] = DEPTHS,
    samples: int = SAMPLES,
    seed: int = 0,
    first: int = 0,
    **metadata: Any,
) -> dict[str, Dataset]:
    """Return the spans of stretches of the text from number `first` up to `samples`, the first span of each first."""
    refuse_misspelt(task, metadata)
    check_grid(lengths, depths, samples, seed)
    count = counter(load_tokenizer(metadata, task), metadata.get("add_bos_token"))
    documents = []
    for index in range(first, samples):
        stretch = Stretch(text, index, seed, count)
        stretch.need(needed(lengths))
        documents.append([spans.document(stretch, span, index, seed) for span in made(stretch)])
    return {"test": Dataset.from_list([row for column in zip(*documents, strict=True) for row in column])}
