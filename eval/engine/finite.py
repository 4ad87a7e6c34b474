"""Whether a model's output is numbers: what is made of anything else would be scored as an answer."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import LogitsProcessor


def not_finite() -> ValueError:
    """Return the refusal, the same however the model was asked."""
    return ValueError(
        "the model's output is not finite (weights or activations that are not numbers, or beyond the dtype): "
        "try a wider dtype, such as --dtype float32 (dtype=float32)"
    )


class FiniteLogits(LogitsProcessor):
    """Watches the logits that tokens are chosen from while a text is generated, and changes none of them.

    What was seen stays on the model's device until `check`: no token waits for the host.
    """

    def __init__(self) -> None:
        self._finite: Tensor | None = None

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Take a look at the logits of the next tokens, (texts, vocabulary)."""
        # a ruled out token is -inf; the largest is no number where any is NaN or inf, or all are ruled out
        finite = torch.isfinite(scores.detach().amax(dim=-1)).all()
        self._finite = finite if self._finite is None else self._finite & finite.to(self._finite.device)
        return scores

    def check(self) -> None:
        """Raise ValueError where some were not finite."""
        if self._finite is not None and not bool(self._finite):
            raise not_finite()
