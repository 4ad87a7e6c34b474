"""Generated samples on disk, by everything that they depend on."""

from __future__ import annotations

import hashlib
import json
import platform
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from rope_scaling.eval.fetch import cache_folder
from rope_scaling.eval.results import write_whole
from rope_scaling.eval.store.keys import tokenizer_key
from rope_scaling.eval.tasks.common.haystack import text_sha256

FORMAT = 2
"""Raised when the same arguments give other samples."""

Rows = list[dict[str, Any]]
Make = Callable[[int, int], list[Rows]]
"""Makes the samples from one number up to another, each a document or several; the first of more are the same."""


def cached(make: Make, number: int, *, folder: str, name: str, key: str) -> list[Rows]:
    """Return the first `number` samples, from disk as far as they were made before.

    Args:
        make: makes those that are missing.
        number: of samples.
        folder: within the cache.
        name: of the file, for people.
        key: tells everything else apart, see `fingerprint`.
    """
    path = cache_folder() / folder / f"{name}-{key}.json"
    samples = _read(path)
    if len(samples) < number:
        samples += make(len(samples), number)
        _keep(path, samples)
    return samples[:number]


def fingerprint(
    tokenizer: PreTrainedTokenizerBase, add_bos_token: bool | None, text: str | None = None, *more: Any
) -> str:
    """Return a name for the tokenizer, the user's text, Python, and what else JSON can hold."""
    own = None if text is None else text_sha256(text)
    # rope_recall_code quotes the standard library
    parts = [FORMAT, tokenizer_key(tokenizer), add_bos_token, own, platform.python_version(), *more]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def _keep(path: Path, samples: list[Rows]) -> None:
    """Write samples, or say why they will be made again: on a full or read-only disk a run can go on without."""
    try:
        write_whole(path, json.dumps(samples).encode(), force=True)
    except OSError as error:
        warnings.warn(
            f"prompts cannot be kept in {path.parent} ({error.strerror or error}), so they are made anew whenever they "
            "are needed: make room, or name another folder by XDG_CACHE_HOME",
            stacklevel=2,
        )


def _read(path: Path) -> list[Rows]:
    """Return what is there; a damaged file counts as none."""
    try:
        samples = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    whole = isinstance(samples, list) and all(isinstance(rows, list) for rows in samples)
    return samples if whole else []
