"""The import direction: rope_scaling <- patches <- eval <- the command line."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
COMMAND_LINE = ("rope_scaling.cli", "rope_scaling.commands")
FACADES = (
    *("rope_scaling/__init__.py", "rope_scaling/__main__.py", "eval/__main__.py"),
    *("rope_scaling/cli.py", "rope_scaling/commands/"),
)
FORBIDDEN = {
    "rope_scaling": ("rope_scaling.patches", "rope_scaling.eval", *COMMAND_LINE, "lm_eval"),
    "patches": ("rope_scaling.eval", *COMMAND_LINE, "lm_eval", "datasets"),
    "eval": COMMAND_LINE,
}


def sources(room: str) -> list[Path]:
    files = [path for path in (ROOT / room).rglob("*.py") if not path.is_symlink()]
    if room == "rope_scaling":  # its links lead to the other rooms
        files = [path for path in files if path.relative_to(ROOT).parts[1] not in ("patches", "eval")]
    return files


def imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module or "")
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("room", FORBIDDEN)
def test_a_room_imports_only_towards_rope_scaling(room: str) -> None:
    files = sources(room)
    assert files
    for path in files:
        if str(path.relative_to(ROOT)).startswith(FACADES):
            continue
        wrong = [name for name in imported(path) if name.startswith(FORBIDDEN[room])]
        assert not wrong, f"{path.relative_to(ROOT)} imports {wrong}"


@pytest.mark.parametrize("room", FORBIDDEN)
def test_every_file_says_in_one_sentence_what_it_is_for(room: str) -> None:
    for path in sources(room):
        docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
        assert docstring, f"{path.relative_to(ROOT)} has no docstring"


def test_patches_and_eval_are_links_inside_the_package() -> None:
    for room in ("patches", "eval"):
        assert (ROOT / "rope_scaling" / room).is_symlink()
