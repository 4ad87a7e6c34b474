"""Perplexity by position of one text under every scheme of a run, through the store, and what the record says of it."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rope_scaling.eval.bins import at, bins, perplexity
from rope_scaling.eval.compare import WINDOW, Keep, Plan, Row, default_stride, run, trained_length, work
from rope_scaling.eval.runner.keeping import Keeping, OwnPart
from rope_scaling.eval.runner.meter import Meter
from rope_scaling.eval.runner.record import RunRecord
from rope_scaling.eval.verdict import BLOCK, RULE, block_means


@dataclass(frozen=True)
class Reading:
    """A text and how much of it is read.

    Attributes:
        name: of the file.
        content: of the file.
        lengths: edges of the position ranges, in tokens.
        texts: stretches, one after another, each as long as the last of `lengths`.
    """

    name: str
    content: bytes
    lengths: tuple[int, ...]
    texts: int


@dataclass(frozen=True)
class Texts:
    """A text as a model reads it.

    Attributes:
        ids: (texts, tokens).
        bos: whether every text begins with the tokenizer's own first token.
        plan: with the schemes that the record has rows of already: all are judged against the same `window`.
        length: L.
        about: what the record says of the text.
    """

    ids: Tensor
    bos: bool
    plan: Plan
    length: int
    about: dict[str, Any]

    @property
    def stride(self) -> int:
        """Tokens that the window moves by."""
        return self.plan.stride or default_stride(self.length)


def read_text(path: Path, lengths: tuple[int, ...], texts: int) -> Reading:
    """Return what a file holds, or say that there is none."""
    if not path.is_file():
        raise ValueError(f"no text file {str(path)!r}: rope-scaling fetch paradise-lost prints the path of one")
    return Reading(path.name, path.read_bytes(), lengths, texts)


def tokenized(reading: Reading, model: Any, tokenizer: Any, plan: Plan, record: RunRecord) -> Texts:
    """Return the text for the model.

    Raises:
        ValueError: The text is too short or no UTF-8, or the record has rows of another one.
    """
    ids, length = _tokens(tokenizer, reading), trained_length(model, plan)
    bos = tokenizer.bos_token_id is not None and int(ids[0, 0]) == tokenizer.bos_token_id
    sha256 = hashlib.sha256(reading.content).hexdigest()
    about = {
        "text": {
            "name": reading.name,
            "sha256": sha256,
            "texts": len(ids),
            "tokens": ids.shape[1],
            "token_ids_sha256": hashlib.sha256(ids.numpy().tobytes()).hexdigest(),
        },
        "lengths": list(reading.lengths),
        "window": {"stride": plan.stride or default_stride(length), "keeps_bos": bos},
    }
    record.refuse_other_text(about)
    rows = [row["scheme"] for row in record.value.get("rows", [])]
    schemes = dict.fromkeys([*(row for row in rows if row != WINDOW), *plan.schemes])
    wider = dataclasses.replace(
        plan, schemes=tuple(schemes), window=plan.window or WINDOW in rows, edges=reading.lengths
    )
    return Texts(ids, bos, wider, length, about)


def expected_reads(texts: Texts) -> int:
    """Return the tokens that all schemes together read."""
    count, tokens = texts.ids.shape
    return count * sum(work(texts.plan, tokens, texts.length).values())


def score_texts(texts: Texts, model: Any, keeping: Keeping, record: RunRecord) -> tuple[Row, ...]:
    """Score the text under every scheme, put the rows into the record, and return them."""
    lengths = tuple(texts.about["lengths"])
    if keeping.answers.processes.count > 1:  # once for what each is to do, once for what all have done
        _rows(texts, model, keeping, OwnPart(keeping).nll)
        keeping.answers.exchange()
        keeping = dataclasses.replace(keeping, meter=Meter())
    rows = _rows(texts, model, keeping, keeping.nll)
    told = [_row(row, lengths) for row in rows]
    record.add_rows({**texts.about, "block": BLOCK, "rule": RULE, "rows": told})
    return rows


def _rows(texts: Texts, model: Any, keeping: Keeping, keep: Keep) -> tuple[Row, ...]:
    watch = functools.partial(_advance, keeping.meter)
    return run(model, texts.ids, texts.plan, bos=texts.bos, watch=watch, keep=keep)


def _advance(meter: Meter, row: str, tokens: int) -> None:
    meter.advance(tokens, row)


def _tokens(tokenizer: Any, reading: Reading) -> Tensor:
    """Return the token ids of the first stretches of the text, (texts, tokens), each with BOS if a text gets one."""
    try:
        text = reading.content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{reading.name} is not UTF-8 text ({error.reason} at byte {error.start})") from None
    ids = tokenizer(text, verbose=False)["input_ids"]
    lead = [ids[0]] if ids and ids[0] == tokenizer.bos_token_id else []
    body, each = ids[len(lead) :], reading.lengths[-1] - len(lead)
    if len(body) < reading.texts * each:
        stretches = f"{reading.texts} times " if reading.texts > 1 else ""
        raise ValueError(
            f"{reading.name} has {len(ids)} tokens, but --lengths asks for {stretches}{reading.lengths[-1]}: "
            "choose a longer text, shorter lengths" + (" or fewer --texts" if reading.texts > 1 else "")
        )
    return torch.tensor([lead + body[start : start + each] for start in range(0, reading.texts * each, each)])


def _row(row: Row, lengths: Sequence[int]) -> dict[str, Any]:
    return {
        "scheme": row.name,
        "max_length": row.max_length,
        "seconds": round(row.seconds, 2),
        "bins": [
            {
                "range": part.label,
                "start": part.start,
                "stop": part.stop,
                "tokens": at(row.nll, part.start, part.stop).numel(),
                "perplexity": perplexity(row.nll, part.start, part.stop),
            }
            for part in bins(tuple(lengths))
        ],
        # a list for each stretch of the text
        "block_nll": [[round(value, 6) for value in _blocks(nll)] for nll in row.nll],
        "short_context_tax": row.tax,
        "versus_window": row.versus_window and dataclasses.asdict(row.versus_window),
    }


def _blocks(nll: Tensor) -> list[float]:
    """Return means over positions 0-63, 64-127, ...; position 0 has no score, so the first block has one less."""
    return [at(nll, 0, BLOCK).double().mean().item(), *block_means(at(nll, BLOCK)).tolist()]
