"""lm-eval's RULER generators, imported without a download and run from a seed of our own, in silence."""

from __future__ import annotations

import contextlib
import importlib
import io
import random
from collections.abc import Iterator
from typing import Any
from unittest import mock

import numpy as np

PACKAGE = "lm_eval.tasks.ruler"


def generators(name: str) -> Any:
    """Return the module of lm-eval's `ruler` folder.

    `prepare_niah` fetches a sentence splitter when it is imported, which only its essays need.
    """
    try:
        import nltk
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("RULER needs more packages: pip install 'lm-eval[ruler]'", name=error.name) from None
    with mock.patch.object(nltk, "download", return_value=False), _silence():
        return importlib.import_module(f"{PACKAGE}.{name}")


@contextlib.contextmanager
def seeded(seed: str) -> Iterator[None]:
    """Run lm-eval's generators, which draw from Python's and NumPy's global states, and put those back."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002  lm-eval's own choice
    words = generators("cwe_utils")
    random.seed(seed)
    np.random.seed(random.getrandbits(32))  # noqa: NPY002
    try:
        with mock.patch.object(words, "RNG", random.Random(seed)), _silence():
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep progress bars and prints of every step to ourselves."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield
