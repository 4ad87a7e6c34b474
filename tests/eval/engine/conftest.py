"""A tokenizer that makes a token of every character."""

from __future__ import annotations

from typing import Any

import pytest
from transformers import AutoTokenizer

from tests.eval.tiny import tiny_checkpoint


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return AutoTokenizer.from_pretrained(tiny_checkpoint(tmp_path_factory.mktemp("characters")))
