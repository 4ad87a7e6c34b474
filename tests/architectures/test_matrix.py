"""Every architecture of the installed Transformers under every scheme: equal to native models, undone exactly."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.architectures.exceptions import REFUSED
from tests.architectures.matrix import architectures, examine
from tests.architectures.native import SCHEMES

TOLERANCE = 4e-6


@pytest.mark.parametrize("model_type", architectures())
def test_a_patched_model_is_its_native_twin_and_its_own_reload(model_type: str, tmp_path: Path) -> None:
    refusal = REFUSED.get(model_type)
    for scheme, cell in examine(model_type, tmp_path).items():
        assert cell.undone, f"{scheme}: something was left behind"
        if refusal is not None and scheme in refusal.schemes:
            assert refusal.says in cell.refused, f"{scheme}: {cell}"
            continue
        assert not cell.refused, f"{scheme}: {cell.refused}"
        assert cell.native <= TOLERANCE, f"{scheme}: {cell.native} from the native model"
        assert cell.reloaded <= TOLERANCE, f"{scheme}: {cell.reloaded} from the reloaded model"
        assert (cell.moved > 1e-5) == (scheme != "none"), f"{scheme}: moved the logits by {cell.moved}"


def test_every_exception_is_an_architecture_that_is_there() -> None:
    assert REFUSED.keys() <= set(architectures())
    assert all(set(refusal.schemes) <= set(SCHEMES) for refusal in REFUSED.values())
