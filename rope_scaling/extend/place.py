"""One file, put into a new folder: linked where that can be, cloned where not, copied otherwise."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

Tick = Callable[[int], None]
"""Called with the bytes that were copied since the last call."""

_CLONE = 0x40049409  # Linux's FICLONE: _IOW(0x94, 9, int)
_NO_LINK = {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EACCES, errno.ENOSYS}
"""Another file system, one without links, too many of them, or somebody else's file."""
_STEP = 16 * 2**20


def place_file(source: Path, target: Path, *, copy: bool, tick: Tick) -> str:
    """Make `target` hold the bytes of `source`; returns how: "linked", "cloned" or "copied"."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if not copy:
        try:
            os.link(source, target)
        except OSError as error:
            if error.errno not in _NO_LINK:
                raise
        else:
            return "linked"
    with source.open("rb") as read, target.open("xb") as write:
        cloned = not copy and _clone(read.fileno(), write.fileno())
        while not cloned and (part := read.read(_STEP)):
            write.write(part)
            tick(len(part))
        write.flush()
        os.fsync(write.fileno())
    shutil.copymode(source, target)
    return "cloned" if cloned else "copied"


def write_file(target: Path, held: bytes) -> None:
    """Write a new file, through to the disk."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("xb") as file:
        file.write(held)
        file.flush()
        os.fsync(file.fileno())


def _clone(source: int, target: int) -> bool:
    """Share the blocks of a file on a file system that can (btrfs, xfs); False where it cannot."""
    try:
        import fcntl

        fcntl.ioctl(target, _CLONE, source)
    except (ImportError, OSError):
        return False
    return True
