"""Prompts side by side for `generate()`, the shared prefix already in a cache."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from rope_scaling.eval.engine.reader import Reader
from rope_scaling.eval.engine.rows import Row
from rope_scaling.eval.engine.trunk import Trunk


def continue_batch(
    reader: Reader, trunk: Trunk, rows: Sequence[Row], pad: int, generate: Callable[..., Tensor]
) -> list[list[int]]:
    """Continue prompts that begin with the trunk's prefix, side by side; returns what was generated.

    Shorter prompts are padded between prefix and rest, which the attention mask hides: positions count on.

    Args:
        reader: the model.
        trunk: holds the prefix, at most all but the last token of each prompt.
        rows: the prompts.
        pad: the token to pad with.
        generate: HFLM's `_model_generate`, its stop sequences and options bound.
    """
    start, width = len(trunk.ids), max(len(row.ids) for row in rows)
    fill = [width - len(row.ids) for row in rows]
    ids = [row.ids[:start] + [pad] * count + row.ids[start:] for row, count in zip(rows, fill, strict=True)]
    mask = torch.ones(len(rows), width, dtype=torch.long)
    for line, count in zip(mask, fill, strict=True):
        line[start : start + count] = 0
    long = {"prefill_chunk_size": reader.chunk} if width - start > reader.chunk else {}
    reader.work.tokens += len(rows) * (width - start)
    with trunk.branch(len(rows)) as cache:
        out = generate(
            context=reader.tensor(ids),
            attention_mask=mask.to(reader.device),
            max_length=width + rows[0].steps - 1,
            **({} if cache is None else {"past_key_values": cache}),
            **long,
        )
    return [line[width:] for line in out.tolist()]
