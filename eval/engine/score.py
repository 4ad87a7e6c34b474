"""Log-likelihoods of continuations, in float32 whatever the model's dtype, a slice of positions at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from rope_scaling.eval.engine.finite import not_finite
from rope_scaling.eval.engine.reader import Reader
from rope_scaling.eval.engine.rows import Row, Tokens
from rope_scaling.eval.engine.trunk import Trunk

LOGIT_BYTES = 2**29
"""The largest float32 logits of one forward pass, where a batch would make more of them."""
SLICE_BYTES = 2**24
"""The float32 logits that are looked at together: they are copied, and their exponentials too."""

Done = Callable[[int, float, bool], None]  # request, log-likelihood, whether greedy decoding would say the same
Heard = Callable[[int, list[float]], None]  # request, log-likelihood of each of its tokens


@dataclass
class _Sum:
    """A continuation's log-likelihood so far, and that of each token."""

    log_likelihood: float = 0.0
    greedy: bool = True
    tokens: list[float] = field(default_factory=list)


def score_batch(
    reader: Reader,
    trunk: Trunk,
    rows: Sequence[Row],
    done: Done,
    dtype: torch.dtype = torch.float32,
    heard: Heard | None = None,
) -> None:
    """Score rows that begin with the trunk's prefix, side by side.

    Args:
        reader: the model.
        trunk: holds the prefix; no row wants a prediction inside of it.
        rows: what to read.
        done: told of each request.
        dtype: of the log-softmax.
        heard: told of the tokens of each request, if anyone wants to know.
    """
    start = len(trunk.ids)
    sums = {want.request: _Sum() for row in rows for want in row.wants}
    ids = reader.tensor([row.ids[start:] for row in rows])  # (texts, longest)
    wanted = min(row.free for row in rows) - start
    with trunk.branch(len(rows)) as cache:
        for low, high in _passes(reader, len(rows), wanted, ids.shape[1]):
            keep = max(high - max(low, wanted), 0)
            more = cache is not None or high < ids.shape[1]
            logits, cache = reader.read(ids[:, low:high], cache, keep, use_cache=more, room=start + ids.shape[1])
            if keep:
                _add(sums, logits, rows, start + high - keep, dtype)
    for request, scored in sums.items():
        if math.isnan(scored.log_likelihood):
            raise not_finite()
        done(request, scored.log_likelihood, scored.greedy)
        if heard is not None:
            heard(request, scored.tokens)


def _passes(reader: Reader, texts: int, wanted: int, width: int) -> Iterator[tuple[int, int]]:
    """The columns of each forward pass: at most a chunk, and no more logits than `LOGIT_BYTES`."""
    most = max(LOGIT_BYTES // (4 * reader.vocabulary * texts), 1)
    low = 0
    while low < width:
        high = min(low + reader.chunk, max(low, wanted) + most, width)
        yield low, high
        low = high


def _add(sums: dict[int, _Sum], logits: Tensor, rows: Sequence[Row], start: int, dtype: torch.dtype) -> None:
    """Add what these logits say; the first of them is that of position `start`."""
    where = [one for number, row in enumerate(rows) for one in _positions(number, row, start, logits.shape[1])]
    size = max(SLICE_BYTES // (4 * logits.shape[2]), 1)
    found = [_look(logits, where[low : low + size], dtype) for low in range(0, len(where), size)]
    if not found:
        return
    values, same = (torch.cat(part).tolist() for part in zip(*found, strict=True))
    for (*_, request), value, greedy in zip(where, values, same, strict=True):
        sums[request].log_likelihood += value
        sums[request].tokens.append(value)
        sums[request].greedy &= greedy


def _look(logits: Tensor, where: list[Tokens], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Log-likelihood of each target, and whether it is the likeliest token, (positions,) each."""
    text, column, target, _ = torch.tensor(where, device=logits.device).unbind(1)
    chosen = logits[text, column].to(dtype)  # (positions, vocabulary)
    return chosen.gather(1, target[:, None])[:, 0] - chosen.logsumexp(1), chosen.argmax(1) == target


def _positions(number: int, row: Row, start: int, count: int) -> Iterator[Tokens]:
    """Text, column, target and request of each position that is wanted among `count` from `start` on."""
    for want in row.wants:
        low = max(want.first, start)
        high = min(want.first + len(want.targets), start + count)
        for position in range(low, high):
            yield [number, position - start, want.targets[position - want.first], want.request]
