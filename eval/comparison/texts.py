"""Two runs' readings of one text as blocks of the same tokens, or the reason why they are none."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor

from rope_scaling.eval.report.blocks import within
from rope_scaling.eval.report.record import Record, Row

TOKENS = "token_ids_sha256"
Blocks = list[tuple[tuple[int, int], Tensor, Tensor]]


def text_blocks(first: Record, second: Record, scheme_a: str, scheme_b: str) -> Blocks | str:
    """Return for each range of positions the blocks of A and of B, (texts, blocks); else why they do not pair."""
    ours, theirs = _row(first, scheme_a), _row(second, scheme_b)
    if ours is None or theirs is None:
        missing = f"{scheme_a} in run A" if ours is None else f"{scheme_b} in run B"
        return f"perplexity: not scored under {missing}"
    if why := _other_tokens(first, second):
        return f"perplexity: {why}"
    told = []
    for start, stop in pairwise(_edges(first, second)):
        blocks = within(first, ours, start, stop), within(second, theirs, start, stop)
        if blocks[0].numel():
            told.append(((start, stop), *blocks))
    return told or "perplexity: too short a text"


def _row(record: Record, scheme: str) -> Row | None:
    return next((row for row in record.rows if row.scheme == scheme), None)


def _other_tokens(first: Record, second: Record) -> str | None:
    """Return why blocks of the same number are not of the same tokens."""
    if first.text.get("sha256") != second.text.get("sha256"):
        return f"other texts ({first.text.get('name', '?')} and {second.text.get('name', '?')})"
    if first.block != second.block:
        return f"blocks of {first.block} tokens in run A and of {second.block} in run B"
    texts = len(first.rows[0].block_nll), len(second.rows[0].block_nll)
    if texts != (1, 1) and (texts[0] != texts[1] or _last(first) != _last(second)):
        return "the text was cut into other stretches"
    tokens = first.text.get(TOKENS), second.text.get(TOKENS)
    if None not in tokens and _last(first) == _last(second):
        return None if tokens[0] == tokens[1] else "the tokenizers cut the text into other tokens"
    if first.checkpoint.rstrip("/") == second.checkpoint.rstrip("/"):
        return None
    return "the records do not tell whether both checkpoints cut the text into the same tokens"


def _edges(first: Record, second: Record) -> list[int]:
    """Return run A's ranges of positions as far as both have read."""
    last = min(_last(first), _last(second))
    edges = [0, *(one.stop for one in first.rows[0].ranges)]
    return [edge for edge in edges if edge < last] + [last]


def _last(record: Record) -> int:
    return record.rows[0].ranges[-1].stop
