"""A word when a model is saved whose patch the weights and the native config cannot say."""

from __future__ import annotations

import warnings

from torch import nn


class SaysOnce:
    """A hook that warns when the weights are asked for, once.

    Args:
        told: What is saved and how, and what plain Transformers makes of it.
    """

    def __init__(self, told: str) -> None:
        self.told, self.said = told, False

    def __call__(self, module: nn.Module, prefix: str, keep_vars: bool) -> None:
        """Warn."""
        if not self.said:
            self.said = True
            warnings.warn(self.told, UserWarning, stacklevel=2)
