"""Files of JSON lines that only grow, each written by one process at a time."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

PATTERN = "answers*.jsonl"


def read_lines(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the objects of all files; what a writer left half-written, or a disk damaged, counts as not written."""
    return (value for _, value in placed_lines(folder))


def placed_lines(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield what `read_lines` does, each object after the place where it stands."""
    for path in sorted(folder.glob(PATTERN)):
        for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], 1):  # what no line end follows is not whole
            try:
                value = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(value, dict):
                yield f"{path}, line {number}", value


class Lines:
    """A file of the folder that nobody else writes while this is open; a process gets one of its own."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._lock, self.path = _claimed(folder)
        self._file = self.path.open("ab", buffering=0)
        _drop_torn_end(self.path, self._file.fileno())

    def append(self, value: dict[str, Any]) -> None:
        """Write one line, and wait until it is on the disk.

        Raises:
            OSError: It cannot be written; the file is as it was before.
        """
        line = json.dumps(value, separators=(",", ":")).encode() + b"\n"
        size = os.fstat(self._file.fileno()).st_size
        try:
            rest = memoryview(line)
            while rest:
                rest = rest[self._file.write(rest) :]
            os.fsync(self._file.fileno())
        except OSError as error:
            os.truncate(self._file.fileno(), size)
            raise OSError(
                f"{self.path} cannot be written: {error.strerror or error}. Every answer before this one is kept: make "
                "room and give the same command again"
            ) from None

    def close(self) -> None:
        """Let others write the file."""
        self._file.close()
        self._lock.release()


@contextmanager
def whole_folder(folder: Path) -> Iterator[None]:
    """Hold all files of a folder.

    Raises:
        ValueError: A process writes one of them.
    """
    with ExitStack() as held:
        for path in folder.glob(PATTERN):
            try:
                held.enter_context(_lock(path).acquire(timeout=0))
            except Timeout:
                raise ValueError(f"another process writes {path}: wait for it, or choose another --output") from None
        yield


def _claimed(folder: Path) -> tuple[FileLock, Path]:
    """Return the lock of the first file that no other process holds, and the file."""
    number = 0
    while True:
        path = folder / f"answers-{number}.jsonl"
        lock = _lock(path)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            number += 1
        else:
            return lock, path


def _lock(path: Path) -> FileLock:
    """Return the lock of a file; the system lets go of it when its process dies, however it dies."""
    return FileLock(path.with_name(f".{path.stem}.lock"))


def _drop_torn_end(path: Path, file: int) -> None:
    """Cut what an earlier writer left without a line end; the next line would be glued to it."""
    whole = path.read_bytes().rfind(b"\n") + 1
    if whole < path.stat().st_size:
        os.truncate(file, whole)
