"""A tiny checkpoint, and prompts that are kept where nobody else looks."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.eval.tiny import tiny_checkpoint


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture(scope="session")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for prompts that several tests ask."""
    return tmp_path_factory.mktemp("prompts")


@pytest.fixture
def kept_prompts(prompts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(prompts))
