"""Generated samples on disk, by everything that they depend on."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from rope_scaling.eval.fetch import cache_folder

FORMAT = 1
"""Raised when the same arguments give other samples."""

Rows = list[dict[str, Any]]


def cached(make: Callable[[int], Rows], number: int, *, name: str, length: int, seed: int, key: str) -> Rows:
    """Return the first `number` samples, from disk where as many or more were made before.

    Args:
        make: makes so many; the first of more must be the same.
        number: of samples.
        name: of the task.
        length: tokens.
        seed: of the samples.
        key: tells everything else apart, see `fingerprint`.
    """
    path = cache_folder() / "ruler" / f"{name}-{length}-{seed}-{key}.json"
    rows = _read(path)
    if len(rows) < number:
        rows = make(number)
        _write(path, rows)
    return rows[:number]


def fingerprint(tokenizer: PreTrainedTokenizerBase, add_bos_token: bool | None, text: str | None) -> str:
    """Return a name for the tokenizer, the packages that generate, and the user's text."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    own = backend.to_str() if backend is not None else json.dumps(sorted(tokenizer.get_vocab().items()))
    packages = [version(package) for package in ("lm_eval", "wonderwords", "nltk")]
    parts = [FORMAT, type(tokenizer).__name__, own, add_bos_token, packages, text and Path(text).read_text("utf-8")]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _read(path: Path) -> Rows:
    """Return what is there; a damaged file counts as none."""
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return rows if isinstance(rows, list) else []


def _write(path: Path, rows: Rows) -> None:
    """Put the file in its place at once, so that no other process reads half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, encoding="utf-8", delete=False) as scratch:
        json.dump(rows, scratch)
    os.replace(scratch.name, path)
