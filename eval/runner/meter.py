"""One bar over all that a run computes, in tokens, with the time that is left."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


class Meter:
    """What is still to be done, in tokens; silent without a bar.

    Args:
        progress: shows it.
        processes: how many do the work; what is expected is divided among them, what is done is this one's.

    Attributes:
        left: tokens that this process is expected to read and has not yet counted.
    """

    def __init__(self, progress: Progress | None = None, processes: int = 1) -> None:
        self._progress = progress
        self._bar: TaskID | None = progress.add_task("reading", total=0) if progress else None
        self.processes, self.left = processes, 0.0

    def expect(self, tokens: int) -> None:
        """Add work for all processes together, or take some away that is not needed after all."""
        self._change(tokens / self.processes)

    def skip(self, tokens: int) -> None:
        """Take away what was done before: at once, so it must not count for the speed."""
        self._change(-tokens)

    def settle(self, expected: int, counted: int) -> None:
        """Take away what was expected of all processes and did not come, `counted` having come in this one."""
        self._change(counted - expected / self.processes)

    def advance(self, tokens: int, label: str = "") -> None:
        """Count what was read just now."""
        self.left -= tokens
        if self._progress is not None and self._bar is not None:
            self._progress.update(self._bar, advance=tokens, description=label or None)

    def note(self, line: str) -> None:
        """Leave a line above the bar."""
        if self._progress is not None:
            self._progress.console.print(line, soft_wrap=True, highlight=False, markup=False)

    def _change(self, tokens: float) -> None:
        self.left += tokens
        if self._progress is not None and self._bar is not None:
            done = self._progress.tasks[self._bar].completed
            self._progress.update(self._bar, total=done + self.left)

    def say(self, label: str) -> None:
        """Show what goes on."""
        if self._progress is not None and self._bar is not None:
            self._progress.update(self._bar, description=label)


@contextmanager
def shown(console: Console, processes: int = 1) -> Iterator[Meter]:
    """Show a meter while inside."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, speed_estimate_period=120) as progress:
        yield Meter(progress, processes)
