"""Everything that the package says it has, it has."""

from __future__ import annotations

import subprocess
import sys

import pytest

import rope_scaling


@pytest.mark.parametrize("name", rope_scaling.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(rope_scaling, name) is not None
    assert name in dir(rope_scaling)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = rope_scaling.nothing


def test_importing_the_package_does_not_wait_for_torch() -> None:
    code = "import sys, rope_scaling.cli; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
