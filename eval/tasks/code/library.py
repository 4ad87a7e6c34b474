"""Small functions of the running interpreter's standard library, each of a name that no other has."""

from __future__ import annotations

import ast
import functools
import sysconfig
import textwrap
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MOST_LINES = 16
LINE = (12, 48)  # characters of the line that is asked for
_FOLDERS = (
    *("", "asyncio", "collections", "concurrent/futures", "email", "html", "http", "importlib", "json", "logging"),
    *("multiprocessing", "unittest", "urllib", "wsgiref", "xml/dom", "xml/etree", "xml/sax"),
)


@dataclass(frozen=True)
class Function:
    """A function as it stands in its file, without its indentation.

    Attributes:
        cue: its first line, `def` and all.
        first: the first line of its body, with its indentation.
        rest: what follows, line ends and all.
    """

    name: str
    cue: str
    first: str
    rest: str

    @property
    def source(self) -> str:
        """The whole of it."""
        return f"{self.cue}\n{self.first}{self.rest}"


@functools.cache
def functions() -> tuple[Function, ...]:
    """Return them in the order of folders, files and lines: the same for the same Python version.

    Raises:
        ValueError: The interpreter has its standard library not as files of source.
    """
    root = Path(sysconfig.get_paths()["stdlib"])
    files = [file for folder in _FOLDERS for file in sorted((root / folder).glob("*.py"))]
    found = [function for file in files for function in _functions(file)]
    names, firsts = Counter(one.name for one in found), Counter(one.first.strip() for one in found)
    unique = tuple(one for one in found if names[one.name] == 1 and firsts[one.first.strip()] == 1)
    if len(unique) < 100:
        raise ValueError(f"{root} holds {len(unique)} functions as source, at least 100 are needed: use another Python")
    return unique


def _functions(file: Path) -> Iterator[Function]:
    source = file.read_text(encoding="utf-8")
    lines = source.splitlines()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef) and (found := _function(lines, node)):
            yield found


def _function(lines: list[str], node: ast.FunctionDef) -> Function | None:
    """Return a function of a one-line signature, no docstring and few lines; None is any other."""
    first, last = node.body[0], node.end_lineno or 0
    documented = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    if documented or first.lineno != node.lineno + 1 or not 3 <= last - node.lineno < MOST_LINES:
        return None
    own = textwrap.dedent("\n".join(lines[node.lineno - 1 : last])).splitlines()
    if not own[0].startswith("def ") or not LINE[0] <= len(own[1].strip()) <= LINE[1]:
        return None
    return Function(node.name, own[0], own[1], "".join(f"\n{line}" for line in own[2:]))
