"""The processes that a launcher started together: which of them this is, and how they divide work."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch

Result = TypeVar("Result")

_SIZES = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
"""Where launchers say how many processes they have started."""
_PATIENCE = timedelta(weeks=52)
"""How long a process that has done its part waits for the slowest; a launcher ends it earlier if another fails."""


class LostProcessError(ConnectionError):
    """Another process ended before it gave its part."""


@dataclass(frozen=True)
class Processes:
    """The processes that share a run; one where no launcher started more.

    Every process holds the whole model, is asked everything, and does its part of the work: then all get all results.
    So each goes on exactly as a single process would, and one of them, the first, prints and writes for all.

    Attributes:
        index: which one this is, from 0.
        count: how many there are.
        device: what the launcher chose for this one; None where there is one process.
    """

    index: int = 0
    count: int = 1
    device: torch.device | None = None

    @property
    def is_first(self) -> bool:
        """Whether this one prints and writes."""
        return self.index == 0

    @contextmanager
    def first_speaks(self) -> Iterator[None]:
        """Let the first process print for all; what the others would print is the same. Errors leave all of them."""
        if self.is_first:
            yield
            return
        disabled = logging.root.manager.disable
        logging.disable(logging.WARNING)  # handlers hold on to the stream that they were made with
        try:
            with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
                yield
        finally:
            logging.disable(disabled)

    def gather(self, value: Any) -> list[Any]:
        """What each process gave, in their order; all of them must call it.

        Raises:
            LostProcessError: One of them is gone.
        """
        if self.count == 1:
            return [value]
        parts: list[Any] = [None] * self.count
        try:
            torch.distributed.all_gather_object(parts, value)
        except RuntimeError as error:  # gloo and NCCL have no narrower one for a peer that is gone
            raise LostProcessError(
                f"process {self.index} of {self.count} waits in vain: another one has ended, and says why itself"
            ) from error
        return parts

    def from_first(self, value: Any) -> Any:
        """What the first process gave; all of them must call it."""
        return self.gather(value if self.is_first else None)[0]

    def agree(self, asked: str) -> None:
        """Raise ValueError, in all of them, unless all processes are asked the same."""
        if len({*self.gather(asked)}) > 1:
            raise ValueError(
                "the processes of this run were asked different things, or found different answers in its folder: "
                "start them all with the same command, the same files and the same versions of every package, and no "
                "other command on the same folder at that time"
            )

    def share(
        self, asked: str, parts: Sequence[Sequence[int]], work: Callable[[Sequence[int]], Mapping[int, Result]]
    ) -> dict[int, Result]:
        """Let each process do its part of the work; all of them get all results, by number.

        Args:
            asked: what the numbers stand for, so that processes which were asked different things notice.
            parts: the numbers that each process works on.
            work: does it.

        Raises:
            ValueError: The processes were not asked the same.
        """
        self.agree(asked)
        return {number: result for part in self.gather(work(parts[self.index])) for number, result in part.items()}


ALONE = Processes()
"""A single process."""


def join_processes() -> Processes:
    """The processes that a launcher (torchrun, accelerate launch, mpirun) started, ready to talk to each other.

    On a machine without an accelerator they meet over gloo, also under torchrun: accelerate alone would take each of
    them for a single process there, and all would do the same work.

    Raises:
        ValueError: A launcher started several processes, and they cannot meet.
    """
    asked = max(int(os.environ.get(name) or 1) for name in _SIZES)
    if asked <= 1:
        return ALONE
    from accelerate import PartialState  # type: ignore[import-untyped]

    if not torch.accelerator.is_available():
        os.environ["ACCELERATE_USE_CPU"] = "true"  # read by everything of accelerate that is made later
    on_cpu = os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes")
    state = PartialState(cpu=on_cpu, timeout=_PATIENCE)
    if state.num_processes == 1:
        raise ValueError(
            f"a launcher says that it started {asked} processes ({' or '.join(_SIZES)}), but this one finds no other: "
            "each would do all of the work and write the same files. Unset these variables for a single process, or "
            "start them by torchrun or accelerate launch"
        )
    return Processes(state.process_index, state.num_processes, state.device)


def deal(costs: Sequence[float], parts: int) -> list[list[int]]:
    """The numbers of the pieces of work that each of `parts` processes does, in their order, about as much each."""
    found: list[list[int]] = [[] for _ in range(parts)]
    loads = [0.0] * parts
    for number in sorted(range(len(costs)), key=lambda number: -costs[number]):
        least = loads.index(min(loads))
        found[least].append(number)
        loads[least] += costs[number]
    return [sorted(part) for part in found]
