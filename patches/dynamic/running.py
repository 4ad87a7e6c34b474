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
        shortest: No more than any of them, where that is known without asking a device; else 0.
        outer: The plan that was there before, for other homes, and for these where `joined`.
        joined: Whether the rows are as long as the outer plan says at least.
        spare: Tokens that are only tried, and taken back where they go past the plan.
    """

    homes: tuple[nn.Module, ...]
    lengths: Tensor
    shortest: int = 0
    outer: Plan | None = None
    joined: bool = False
    spare: int = 0

    def is_for(self, home: nn.Module) -> bool:
        """Whether it is for this home."""
        return any(home is one for one in self.homes)


def plans_for(plan: Plan | None, home: nn.Module) -> list[Plan]:
    """The plans that hold for a home, the innermost first."""
    found: list[Plan] = []
    while plan is not None:
        if plan.is_for(home):
            found.append(plan)
            if not plan.joined:
                break
        plan = plan.outer
    return found


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
        ahead: Tokens that a cache given to `generate` holds beyond the ids that it was given.
        call: The innermost forward of a model whose rows have scales of their own.
        probes: Set while the layout of cached keys is found out.
    """

    def __init__(self) -> None:
        self.plan: Plan | None = None
        self.ahead = 0
        self.call: Call | None = None
        self.probes: tuple[Probe, ...] = ()


running = Running()
