"""Whether a scheme beat simply cutting the text, by paired differences of block means."""

import math
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

# neighbouring tokens' losses go together: errors from single tokens would look too small
BLOCK = 64  # tokens
LEAST_BLOCKS = 8
RULE = (
    f"past the trained length, a scheme beats `window` or is worse when the mean paired difference of {BLOCK}-token "
    "blocks is at least 2 standard errors from 0; else it is no better"
)

Verdict = Literal["beats window", "no better than window", "worse than window", "too few tokens to tell"]


@dataclass(frozen=True)
class Comparison:
    """A scheme against `window` over the same tokens; nats per token, negative where the scheme is better."""

    blocks: int
    mean_difference: float
    standard_error: float | None
    z: float | None
    verdict: Verdict


def block_means(nll: Tensor) -> Tensor:
    """Return the mean of every `BLOCK` tokens of a text, (..., tokens // BLOCK); a shorter last block is left out."""
    blocks = nll.shape[-1] // BLOCK
    return nll[..., : blocks * BLOCK].double().reshape(*nll.shape[:-1], blocks, BLOCK).mean(dim=-1)


def compare(scheme: Tensor, window: Tensor) -> Comparison:
    """Judge the scores of a scheme against those of `window` on the same tokens, (tokens,) or (texts, tokens)."""
    if scheme.shape != window.shape:
        raise ValueError(
            f"paired scores must be of the same tokens, got shapes {tuple(scheme.shape)} and {tuple(window.shape)}"
        )
    difference = scheme.double() - window.double()
    means = block_means(difference).flatten()
    if len(means) < LEAST_BLOCKS:
        return Comparison(len(means), difference.mean().item(), None, None, "too few tokens to tell")
    error = means.std().item() / math.sqrt(len(means))
    mean = means.mean().item()
    # equal scores have no error at all, and are no better
    z = mean / error if error else math.copysign(math.inf, mean) if mean else 0.0
    return Comparison(len(means), mean, error, z if math.isfinite(z) else None, _verdict(z))


def _verdict(z: float) -> Verdict:
    if z <= -2:
        return "beats window"
    return "worse than window" if z >= 2 else "no better than window"
