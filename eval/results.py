"""A result on disk: written whole or not at all, never over an older one, and what it was made with."""

import json
import os
import platform
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any


def refuse_existing(path: Path, force: bool) -> None:
    """Raise before hours of work, rather than after, when the result could not be written."""
    if path.is_dir():
        raise ValueError(f"{path} is a folder: name a file, such as {path / 'run.json'}")
    if path.exists() and not force:
        raise ValueError(f"{path} exists: choose another name, or pass --force to replace it")


def write_json(path: Path, value: Any, *, force: bool = False) -> None:
    """Write `value` as JSON, whole or not at all.

    Raises:
        ValueError: A number in it is none that JSON has, or `write_whole` refuses.
    """
    refuse_existing(path, force)
    write_whole(path, (json.dumps(value, indent=1, allow_nan=False) + "\n").encode(), force=force)


def write_whole(path: Path, content: bytes, *, force: bool = False) -> None:
    """Write a file beside `path`, then rename it, so that `path` never holds half of it, nor loses it with the power.

    Raises:
        ValueError: `path` is a folder, or exists and `force` is False.
    """
    refuse_existing(path, force)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as scratch:
        whole = Path(scratch) / path.name
        with whole.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        refuse_existing(path, force)  # someone may have written it meanwhile
        whole.replace(path)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Have the new name on the disk too, where the system can be asked for it."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def versions() -> dict[str, str]:
    """Return the versions of what made the numbers."""
    packages = {name: metadata.version(name) for name in ("rope-scaling", "torch", "transformers")}
    return {**packages, "python": platform.python_version()}


def peak_memory() -> int | None:
    """Return the most memory this process has held, in bytes; None where the system does not tell."""
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
