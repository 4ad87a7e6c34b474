"""Key tokens by the contrast of long and short context (LongPPL, arXiv 2410.23771, section 3.2)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rope_scaling.eval.perplexity import token_nll

ALPHA = 2.0  # nats that the long context must gain: the paper's LSD > α
BETA = -2.0  # log-probability that it must reach: LCL > β
SHORT = 4096  # tokens of the short context, the paper's K
LEAST = 100
"""Key tokens below which nothing is concluded: with a spread of about 1 nat a token, they leave ± 0.2."""


def key_tokens(long: Tensor, short: Tensor, alpha: float = ALPHA, beta: float = BETA) -> Tensor:
    """Return which tokens the long context makes likely and the short does not, (tokens,) of bool.

    Args:
        long: nats of each token given all before it, (tokens,).
        short: nats of the same tokens given a short context, (tokens,).
        alpha: least gain in nats, exclusive.
        beta: least log-probability given the long context, exclusive.
    """
    if long.shape != short.shape:
        raise ValueError(f"both must score the same tokens, got shapes {tuple(long.shape)} and {tuple(short.shape)}")
    return (short - long > alpha) & (-long > beta)


def contrast(model: Any, ids: Tensor, short: int, step: int | None = None) -> tuple[Tensor, Tensor]:
    """Score `ids[short:]` with all of the text before each token, and with little of it.

    Args:
        model: the evaluator, a causal language model.
        ids: a text, (tokens,).
        short: tokens of the short context; a token sees up to `step` more, as in the paper's code.
        step: tokens that share their short context's beginning; a quarter of it unless told, as in the paper's.

    Returns:
        Nats of each, float32, (tokens - short,).
    """
    step = max(short // 4, 1) if step is None else step
    if not 1 <= short < len(ids):
        raise ValueError(f"short must be from 1 to {len(ids) - 1} tokens, below the text's {len(ids)}; got {short}")
    starts = range(0, len(ids) - short, step)
    near = [token_nll(model, ids[start : start + short + step], first=short) for start in starts]
    return token_nll(model, ids, first=short), torch.cat(near)
