"""What a thread is computing: the lengths that were planned, and the forward that is under way."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from torch import nn

    from rope_scaling.patches.dynamic.call import Call


@dataclass(frozen=True)
class Plan:
    """How long the rows of every forward inside will become.

    Attributes:
        homes: The modules that it is for: those whose `forward` takes a cache and holds the rotary modules.
        lengths: () or (rows,), tokens, int64.
        longest: The largest of them, where it is known without asking a device; else the host relies on nothing.
    """

    homes: tuple[nn.Module, ...]
    lengths: Tensor
    longest: int

    def is_for(self, home: nn.Module) -> bool:
        """Whether it is for this home."""
        return any(home is one for one in self.homes)


@dataclass(frozen=True)
class Probe:
    """Frequencies that one rotary module is to use for the moment, whatever its own.

    Attributes:
        module: The rotary module.
        prefix: Of its buffers, where it has several layer types.
        inv_freq: (pairs,).
        factor: (), what cos and sin are multiplied with.
    """

    module: nn.Module
    prefix: str
    inv_freq: Tensor
    factor: Tensor


class Running(threading.local):
    """Each thread's own, so that two threads can use one model; `torch.compile` traces through it.

    Attributes:
        plan: The innermost plan.
        call: The innermost forward of a model whose rows have scales of their own.
        probes: Set while the layout of cached keys is found out.
    """

    def __init__(self) -> None:
        self.plan: Plan | None = None
        self.call: Call | None = None
        self.probes: tuple[Probe, ...] = ()


running = Running()
