"""A folder or file that appears whole or not at all, whenever the process is stopped."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

RECORD = "rope_scaling.json"
"""The file by which a folder is known to be ours."""
_BESIDE = ".{name}.rope-scaling-partial"
_ATTEMPTS = 100
"""A lock is lost to another process that finishes in the same moment; not a hundred times in a row."""


@contextlib.contextmanager
def published(out: Path, *, force: bool) -> Iterator[Path]:
    """Give a path beside `out` to write to; what lies there afterwards becomes `out` in one step.

    What an earlier process was killed over is cleared away first. An exception leaves nothing behind.

    Raises:
        ValueError: `out` is there, or cannot be replaced, or another process is writing it.
        OSError: The place cannot be written to.
    """
    _check_free(out, force)
    beside = out.parent / _BESIDE.format(name=out.name)
    with _locked(beside, out):
        try:
            _clear(beside, out)
            _check_free(out, force)
            new = beside / "new"
            yield new
            _sync(new)
            _check_free(out, force)
            old = beside / "old"
            if os.path.lexists(out):
                out.rename(old)
            new.rename(out)
            _sync_folder(out.parent)
        finally:
            with contextlib.suppress(OSError):
                _clear(beside, out)
            shutil.rmtree(beside, ignore_errors=True)


def _check_free(out: Path, force: bool) -> None:
    if not out.name or not out.parent.is_dir():
        raise ValueError(f"{out.parent} is no folder that {out.name or out} could be written into: make it first")
    if not os.path.lexists(out):
        return
    if not force:
        raise ValueError(f"{out} exists: choose another name, or pass --force")
    if out.is_symlink() or not ((out.is_file() and out.suffix == ".gguf") or _is_ours(out)):
        raise ValueError(
            f"{out} was not written by rope-scaling extend, so --force does not replace it: remove it first"
        )


def _is_ours(out: Path) -> bool:
    return out.is_dir() and ((out / RECORD).is_file() or not any(out.iterdir()))


@contextlib.contextmanager
def _locked(beside: Path, out: Path) -> Iterator[None]:
    """Hold the one right to write `out`; the system takes it back from a process that dies."""
    busy = f"another process is writing {out}: wait for it, or choose another name"
    for _ in range(_ATTEMPTS):
        try:
            beside.mkdir(exist_ok=True)
            lock = os.open(beside / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except FileNotFoundError:  # its owner has just finished, and taken the folder away between our two steps
            continue
        except OSError as error:
            with contextlib.suppress(OSError):
                beside.rmdir()
            raise OSError(error.errno, f"cannot write into {out.parent}: {error.strerror}") from error
        try:
            if not _try_lock(lock):
                raise ValueError(busy)
            if _is_still(lock, beside / "lock"):
                yield
                return
        finally:
            os.close(lock)
    raise ValueError(busy)


def _try_lock(lock: int) -> bool:
    try:
        import fcntl
    except ImportError:  # without it, the last step alone decides who wins
        return True
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_still(lock: int, path: Path) -> bool:
    """Whether the file that was locked is the one that others will find."""
    try:
        return os.path.samestat(os.fstat(lock), path.stat())
    except FileNotFoundError:
        return False


def _clear(beside: Path, out: Path) -> None:
    """Take away what a killed process left, and bring back what it had set aside to replace."""
    old = beside / "old"
    if os.path.lexists(old) and not os.path.lexists(out):
        old.rename(out)
    for path in (beside / "new", old):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _sync(new: Path) -> None:
    if new.is_file():
        return
    for place, _, _ in os.walk(new):
        _sync_folder(Path(place))


def _sync_folder(path: Path) -> None:
    with contextlib.suppress(PermissionError):  # Windows opens no folders
        held = os.open(path, os.O_RDONLY)
        try:
            os.fsync(held)
        finally:
            os.close(held)
