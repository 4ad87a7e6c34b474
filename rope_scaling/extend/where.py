"""Where a checkpoint lies: a folder, a GGUF file, or a name on the Hub."""

from __future__ import annotations

import re
from pathlib import Path

_HUB = re.compile(r"\w[\w.-]*/\w[\w.-]*")


def is_gguf(checkpoint: str) -> bool:
    """Whether the name is that of a GGUF file."""
    return checkpoint.endswith(".gguf") and not Path(checkpoint).is_dir()


def find_folder(checkpoint: str, revision: str | None = None) -> Path:
    """The folder of a checkpoint; one on the Hub is downloaded into its cache, or found there.

    Raises:
        ValueError: There is no such folder, and the Hub does not give one.
    """
    path = Path(checkpoint)
    if path.exists():
        return path
    if not _HUB.fullmatch(checkpoint):
        raise ValueError(f"{checkpoint} is not there: give a checkpoint's folder, its name on the Hub, or a GGUF file")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(checkpoint, revision=revision))
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        told = " ".join(str(error).split())
        raise ValueError(f"{checkpoint} is no folder here, and the Hub does not give it: {told}") from None
