"""docs/architectures.md tells of the architectures that are there, and of the refusals that the matrix checks."""

from __future__ import annotations

import pytest
import transformers

from tests.architectures.exceptions import REFUSED
from tests.architectures.matrix import architectures
from tests.architectures.native import SCHEMES
from tests.architectures.page import PAGE


def rows() -> dict[str, list[str]]:
    """The cells of the big table by model."""
    table = [line.strip("| ").split(" | ") for line in PAGE.read_text(encoding="utf-8").splitlines() if "|" in line]
    return {first: rest for first, *rest in table if len(rest) == len(SCHEMES) and first not in ("model", "---")}


def test_a_cell_is_refused_just_where_the_matrix_expects_it() -> None:
    for name, cells in rows().items():
        refused = {scheme for scheme, cell in zip(SCHEMES, cells, strict=True) if cell == "refused"}
        assert refused == (set(REFUSED[name].schemes) if name in REFUSED else set()), name


def test_every_reason_is_told() -> None:
    told = PAGE.read_text(encoding="utf-8")
    assert all(f"- {name} (" in told and refusal.reason in told for name, refusal in REFUSED.items())


def test_the_page_has_a_row_for_every_architecture() -> None:
    if transformers.__version__ not in PAGE.read_text(encoding="utf-8"):
        pytest.fail(f"written for another Transformers than {transformers.__version__}: run tests.architectures.page")
    assert list(rows()) == architectures()
