"""A record of `rope-scaling eval` as values that are known to be whole."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from rope_scaling.eval.bins import Bin
from rope_scaling.eval.report.asked import Task, read_tasks
from rope_scaling.eval.report.reading import Part

KIND, FORMATS = "rope-scaling eval", (2, 3)
_MOST_NATS = 300
"""A token: its perplexity, and that of any mean, is still a float."""


@dataclass(frozen=True)
class Range:
    """The tokens at positions `start` to `stop - 1` of every text, and their perplexity."""

    start: int
    stop: int
    perplexity: float

    @property
    def label(self) -> str:
        """As a person writes it: `4k-8k`."""
        return Bin(self.start, self.stop).label


@dataclass(frozen=True)
class Row:
    """One scheme's reading of the text.

    Attributes:
        scheme: as typed, or `window`.
        max_length: the length that it is made for; None where it is scaled for none.
        ranges: its perplexity by position.
        block_nll: nats per token of blocks of neighbouring tokens, (texts, blocks).
        tax: perplexity within L over the unscaled model's, minus 1; None where the unscaled was not run.
    """

    scheme: str
    max_length: int | None
    ranges: tuple[Range, ...]
    block_nll: tuple[tuple[float, ...], ...]
    tax: float | None


@dataclass(frozen=True)
class Cell:
    """Passkeys asked for at one length, in tokens, and one depth, 0 the beginning and 1 the end."""

    length: int
    depth: float
    accuracy: float
    samples: int


@dataclass(frozen=True)
class Keys:
    """One scheme's passkeys, and how many questions lost their beginning to lm-eval."""

    scheme: str
    cells: tuple[Cell, ...]
    truncated: int


@dataclass(frozen=True)
class Record:
    """One run.

    Attributes:
        checkpoint: folder or Hub name, as typed.
        about: what else is known of the checkpoint: `model_type`, `dtype`, `device`.
        length: L, the trained length, in tokens.
        versions: of what made the numbers.
        commands: as they were typed; several may have added to one run.
        text: of what was read: `name`, `sha256`, `texts`, `tokens`; empty where nothing was.
        stride: tokens that the window of `window` moves by.
        block: tokens of a block.
        rows: one for each scheme, `window` among them where it was run.
        keys: one for each scheme that was asked for passkeys.
        tasks: what else was asked.
    """

    checkpoint: str
    about: Mapping[str, str]
    length: int
    versions: Mapping[str, str]
    commands: tuple[tuple[str, ...], ...]
    text: Mapping[str, str]
    stride: int | None
    block: int
    rows: tuple[Row, ...]
    keys: tuple[Keys, ...]
    tasks: tuple[Task, ...] = ()


def record_file(path: Path) -> Path:
    """Return the record that a path names: itself, or the one in a folder that a run was kept in."""
    return path / "run.json" if path.is_dir() and (path / "run.json").is_file() else path


def read_record(path: Path) -> Record:
    """Return what a file, or the folder of a run, holds.

    Raises:
        ValueError: It is no record, one of another version, or one that is broken; the message says where.
    """
    path = record_file(path)
    if path.is_dir():
        raise ValueError(f"{path} is a folder without run.json: name what `rope-scaling eval -o` wrote")
    if not path.is_file():
        raise ValueError(f"no record {str(path)!r}: `rope-scaling eval ... -o {path.name}` writes one")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{path.name} is not JSON ({error}): name the file that `rope-scaling eval -o` wrote"
        ) from None
    if not isinstance(value, dict) or value.get("kind") != KIND:
        raise ValueError(f"{path.name} is no record of an evaluation: name the file that `rope-scaling eval -o` wrote")
    _check_format(path.name, value.get("format"))
    return parse_record(Part(value, path.name))


def _check_format(name: str, number: object) -> None:
    if number in FORMATS and not isinstance(number, bool):
        return
    later = isinstance(number, int) and number > FORMATS[-1]
    remedy = "install the rope-scaling that wrote it" if later else "run its command again (the record holds it)"
    raise ValueError(
        f"{name} is a record of format {number!r}, this version reads {' and '.join(map(str, FORMATS))}: {remedy}"
    )


def parse_record(root: Part) -> Record:
    """Return what a record that was read holds.

    Raises:
        ValueError: It is broken; the message says where.
    """
    checkpoint = root.part("checkpoint")
    read = "rows" in root
    if not (read or "passkey" in root or "tasks" in root):
        raise root.broken("holds neither 'rows' nor 'passkey' nor 'tasks'")
    rows = tuple(_row(part) for part in root.parts("rows")) if read else ()
    block = root.count("block", 1) if read else 1
    _check_alike(root, rows, block)
    return Record(
        checkpoint=checkpoint.text("name"),
        about={key: checkpoint.text(key) for key in ("model_type", "dtype", "device")},
        length=checkpoint.count("original_max_position_embeddings", 1),
        versions=root.part("versions").texts(),
        commands=_commands(root),
        text=root.part("text").texts() if read else {},
        stride=root.part("window").count("stride", 1) if read else None,
        block=block,
        rows=rows,
        keys=tuple(_keys(name, part) for name, part in root.part("passkey").named()) if "passkey" in root else (),
        tasks=read_tasks(root) if "tasks" in root else (),
    )


def _commands(root: Part) -> tuple[tuple[str, ...], ...]:
    """Return what made the run; format 2 holds the last command only."""
    last = tuple(root.strings("command"))
    return tuple(map(tuple, root.lists_of_strings("commands"))) if "commands" in root else (last,)


def _row(part: Part) -> Row:
    ranges = tuple(
        Range(one.count("start"), one.count("stop", 1), one.number("perplexity")) for one in part.parts("bins")
    )
    return Row(
        scheme=part.text("scheme"),
        max_length=None if part.empty("max_length") else part.count("max_length", 1),
        ranges=ranges,
        block_nll=tuple(part.table("block_nll", _MOST_NATS)),
        tax=None if part.empty("short_context_tax") else part.number("short_context_tax"),
    )


def _check_alike(root: Part, rows: tuple[Row, ...], block: int) -> None:
    """Rows are compared token by token, so all must be of the same tokens."""
    names = [row.scheme for row in rows]
    if len(set(names)) < len(names):
        raise root.broken("has two rows of one scheme")
    for row in rows:
        places, blocks = [(one.start, one.stop) for one in row.ranges], [len(text) for text in row.block_nll]
        if places != [(one.start, one.stop) for one in rows[0].ranges]:
            raise root.broken(f"has other ranges for {row.scheme!r} than for {names[0]!r}")
        edges = [0, *(stop for _, stop in places)]
        if places != list(pairwise(edges)) or edges != sorted(set(edges)):
            raise root.broken(f"has ranges of {row.scheme!r} that do not follow one another")
        if set(blocks) != {max(edges[-1] // block, 1)} or len(blocks) != len(rows[0].block_nll):
            raise root.broken(f"has texts or blocks in 'block_nll' of {row.scheme!r} that its ranges do not explain")


def _keys(scheme: str, part: Part) -> Keys:
    cells = tuple(
        Cell(one.count("length", 1), one.share("depth"), one.share("accuracy"), one.count("samples", 1))
        for one in part.parts("cells")
    )
    truncated = part.part("truncated_requests")
    lost = math.fsum(truncated.count(kind) for kind, _ in truncated)
    return Keys(scheme, cells, int(lost))
