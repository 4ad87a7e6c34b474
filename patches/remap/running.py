"""The forward of a remapped model that a thread is computing."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from torch import Tensor

if TYPE_CHECKING:
    from torch import nn

    from rope_scaling.patches.remap.call import Call

Recorder = Callable[["nn.Module", Tensor, Tensor, dict[str, Any]], None]
"""Is told of every call of the attention function: the module, queries and keys, and what else it was given."""


class Running(threading.local):
    """Each thread's own, so that two threads can use one model; `torch.compile` traces through it.

    Attributes:
        call: The innermost forward of a remapped model.
        recalled: The attention that is computed anew, for a backward pass, in a call that has ended.
        recorder: Set while a model's attention is found out.
    """

    def __init__(self) -> None:
        self.call: Call | None = None
        self.recalled: nn.Module | None = None
        self.recorder: Recorder | None = None


running = Running()
