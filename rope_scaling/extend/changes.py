"""What was changed in a text file, exactly enough to be undone and short enough to be read."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True)
class Change:
    """One stretch of one file, replaced.

    Attributes:
        file: Its path in the folder.
        at: Characters before the stretch.
        before: What stood there; None where there was no such file.
        after: What stands there now.
        sha256_before: Of the whole file as it was, "" where there was none.
        sha256_after: Of the whole file as it is.
    """

    file: str
    at: int
    before: str | None
    after: str
    sha256_before: str
    sha256_after: str


def find_change(file: str, before: bytes | None, after: bytes) -> Change:
    """The stretch in which two versions of a file differ, from the first to the last difference."""
    new = _text(after)
    if before is None:
        return Change(file, 0, None, new, "", _sha256(after))
    old = _text(before)
    shorter = min(len(old), len(new))
    start = next((i for i in range(shorter) if old[i] != new[i]), shorter)
    same = next((i for i in range(shorter - start) if old[-1 - i] != new[-1 - i]), shorter - start)
    stretch_old, stretch_new = old[start : len(old) - same], new[start : len(new) - same]
    return Change(file, start, stretch_old, stretch_new, _sha256(before), _sha256(after))


def undo_change(change: Change, now: bytes | None) -> bytes | None:
    """The file as it was before the change; None where there was none.

    Raises:
        ValueError: The file is not as the change left it.
    """
    if now is None or _sha256(now) != change.sha256_after:
        told = "is gone" if now is None else "was edited"
        raise ValueError(
            f"{change.file} {told} since it was written, so the change cannot be undone exactly: put back the version "
            f"with sha256 {change.sha256_after}, or take `before` in rope_scaling.json by hand"
        )
    if change.before is None:
        return None
    text = _text(now)
    restored = text[: change.at] + change.before + text[change.at + len(change.after) :]
    held = restored.encode("utf-8", "surrogateescape")
    if _sha256(held) != change.sha256_before:
        raise ValueError(f"rope_scaling.json does not say how {change.file} was: it was edited")
    return held


def _text(held: bytes) -> str:
    return held.decode("utf-8", "surrogateescape")  # a README may hold anything


def _sha256(held: bytes) -> str:
    return hashlib.sha256(held).hexdigest()
