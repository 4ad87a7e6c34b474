"""What a run asks of every scheme, and how the command line says it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rope_scaling.eval.tasks.common.parameters import DEPTHS, check_grid, check_number, refuse_misspelt


@dataclass(frozen=True)
class Grid:
    """What every task is asked.

    Attributes:
        names: of tasks and groups.
        lengths: in tokens, prompt and answer together.
        depths: where what is asked for stands, in tasks that have such a place.
        samples: questions for each length, and each depth where there are depths; the most where `target` is set.
        seed: of everything random.
        limit: questions of a task at most, as many of each length.
        target: a cell (scheme, task, length) that is known with this standard error is asked no more.
        options: what tasks take beside the grid.
    """

    names: tuple[str, ...]
    lengths: tuple[int, ...]
    depths: tuple[float, ...] = DEPTHS
    samples: int = 10
    seed: int = 0
    limit: int | None = None
    target: float | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.names:
            raise ValueError("--tasks names no task: rope_quick, rope_vt, ruler, ...")
        if not self.lengths:
            raise ValueError("--tasks needs --lengths: how long the texts are that are asked about, such as 4k,8k")
        check_grid(self.lengths, self.depths, self.samples, self.seed)
        if self.limit is not None:
            check_number("--limit, questions of a task,", self.limit, len(self.lengths))
        if self.target is not None and not 0 < self.target < 1:
            raise ValueError(f"--target-stderr must be between 0 and 1, such as 0.05, got {self.target!r}")
        refuse_misspelt("--metadata", self.options)
        if grid := self.options.keys() & {"lengths", "depths", "samples", "seed"}:
            raise ValueError(f"--metadata says what --{min(grid)} is for: leave it out there")


def read_grid(
    tasks: str,
    lengths: tuple[int, ...],
    depths: str,
    samples: int,
    seed: int,
    limit: int | None,
    target: float | None,
    metadata: str | None,
) -> Grid:
    """Return what the command line asks of tasks.

    Raises:
        ValueError: Something of it cannot be read, or cannot be asked.
    """
    try:
        places = tuple(float(depth) for depth in depths.split(","))
    except ValueError:
        raise ValueError(f"cannot read --depths {depths!r}: write numbers from 0 to 1, such as 0,0.5,1") from None
    try:
        options = json.loads(metadata or "{}", parse_constant=_refuse_constant)
    except ValueError as error:
        raise ValueError(f"--metadata is no JSON ({error}): write such as '{{\"chains\": 3}}'") from None
    if not isinstance(options, dict):
        raise ValueError(f"--metadata must be a JSON object, got {metadata}")
    names = tuple(name.strip() for name in tasks.split(",") if name.strip())
    return Grid(names, lengths, places, samples, seed, limit, target, options)


def _refuse_constant(name: str) -> None:
    """Raise ValueError for what Python reads and JSON does not have: the record could not be written."""
    raise ValueError(f"{name} is no number that JSON has")
