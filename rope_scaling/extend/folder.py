"""A checkpoint folder, extended: new settings beside the very same weights."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rope_scaling.extend.card import add_section, describe_extension
from rope_scaling.extend.changes import find_change, undo_change
from rope_scaling.extend.documents import edit_document, parse_document, read_document
from rope_scaling.extend.files import Entry, check_indexes, find_files
from rope_scaling.extend.limits import raise_generation, raise_tokenizer, told_of_limits
from rope_scaling.extend.place import Tick, place_file, write_file
from rope_scaling.extend.publish import RECORD, published
from rope_scaling.extend.serving import Serving
from rope_scaling.extend.sheet import CHANGED, read_sheet, write_sheet
from rope_scaling.extend.weights import inv_freq_in_weights
from rope_scaling.extend.wording import ConfigEdit, write_edits

Prove = Callable[[Path], None]
"""Called with the new folder before it appears; raises where plain Transformers would read it otherwise."""


@dataclass(frozen=True)
class Source:
    """A checkpoint folder.

    Attributes:
        folder: Where it lies.
        name: What to call it.
        entries: Its files.
        held: The bytes of its settings, as they were before an earlier extension where there was one.
    """

    folder: Path
    name: str
    entries: list[Entry]
    held: dict[str, bytes]

    @classmethod
    def read(cls, folder: Path, name: str | None = None) -> Source:
        """Read the settings, and check that every file lies in the folder.

        Raises:
            ValueError: The folder holds no config, a file leads out of it, or a shard is missing.
        """
        if not folder.is_dir():
            raise ValueError(f"{folder} is no folder: give a checkpoint's folder, its name on the Hub, or a GGUF file")
        entries = find_files(folder)
        check_indexes(entries)
        by_name = {entry.name: entry for entry in entries}
        if "config.json" not in by_name:
            raise ValueError(f"{folder} holds no config.json: it is no Transformers checkpoint")
        held = {file: read_document(by_name[file].path) for file in (*CHANGED, "tokenizer.json") if file in by_name}
        if RECORD in by_name:
            for change in read_sheet(read_document(by_name[RECORD].path)):
                before = undo_change(change, held.pop(change.file, None))
                held |= {} if before is None else {change.file: before}
        return cls(folder, name or folder.resolve().name, entries, held)

    @property
    def rest(self) -> list[Entry]:
        """The files that no scaling changes."""
        return [entry for entry in self.entries if entry.name not in (*CHANGED, RECORD)]

    def generation_length(self, old: int) -> int | None:
        """`max_length` of the generation config where it stands at the old limit, and so will be raised."""
        name = "generation_config.json"
        held = parse_document(name, self.held[name]) if name in self.held else {}
        return old if held.get("max_length") == old else None


@dataclass(frozen=True)
class Extension:
    """What to do to a checkpoint.

    Attributes:
        edits: The new RoPE, for each config in `config.json` that has one.
        old: The length that the config declared, in tokens.
        new: The length that it will declare.
        told: The scheme, in words.
        record: What `rope_scaling.json` says of it.
        trained: The frequencies that the config meant before, one list for each RoPE.
        served: The engines.
    """

    edits: Sequence[ConfigEdit]
    old: int
    new: int
    told: str
    record: Mapping[str, Any]
    trained: Sequence[Sequence[float]]
    served: Sequence[Serving]


@dataclass
class Written:
    """What became of the files, and what else to tell."""

    placed: dict[str, int] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def extend_folder(
    source: Source, extension: Extension, out: Path, *, prove: Prove, force: bool, copy: bool, tick: Tick
) -> Written:
    """Write `out`: the source with another RoPE.

    Raises:
        ValueError: The source is damaged, `out` is there, or Transformers would not read what was written as meant.
        OSError: The disk is full or cannot be written.
    """
    settings = _settings(source, extension)
    changes = [find_change(name, source.held.get(name), held) for name, held in settings.items()]
    changes = [change for change in changes if change.before != change.after]
    settings[RECORD] = write_sheet(dict(extension.record), extension.served, changes)
    written = Written(warnings=_warnings(source, extension, settings))
    _write(source, source.held | settings, out, written, prove=prove, force=force, copy=copy, tick=tick)
    return written


def undo_folder(folder: Path, out: Path, *, force: bool, copy: bool, tick: Tick) -> Written:
    """Write `out`: the folder as it was before it was extended.

    Raises:
        ValueError: It was not extended, or its settings were edited since.
    """
    if not (folder / RECORD).is_file():
        raise ValueError(f"{folder} has no {RECORD}: it was not written by rope-scaling extend, or is undone already")
    source = Source.read(folder)
    written = Written()
    _write(source, source.held, out, written, prove=lambda _: None, force=force, copy=copy, tick=tick)
    return written


def _settings(source: Source, extension: Extension) -> dict[str, bytes]:
    """The settings that change, by file."""
    old, new = extension.old, extension.new
    edits = {
        "config.json": functools.partial(write_edits, edits=extension.edits),
        "generation_config.json": functools.partial(raise_generation, old=old, new=new),
        "tokenizer_config.json": functools.partial(raise_tokenizer, old=old, new=new),
    }
    made = {name: edit_document(name, source.held[name], edit) for name, edit in edits.items() if name in source.held}
    section = describe_extension(source.name, extension.told, old, new, extension.served)
    return made | {"README.md": add_section(source.held.get("README.md"), section)}


def _warnings(source: Source, extension: Extension, settings: dict[str, bytes]) -> list[str]:
    told = told_of_limits(source.held | settings, extension.new)
    pickles = [entry.name for entry in source.entries if entry.is_pickle]
    if pickles:
        told.append(f"{pickles[0]} is a pickle (of {len(pickles)}): taken along unopened, as opening one can run code")
    tensors = [entry for entry in source.entries if entry.name.endswith(".safetensors")]
    return told + inv_freq_in_weights(tensors, extension.trained)


def _write(
    source: Source,
    settings: dict[str, bytes],
    out: Path,
    written: Written,
    *,
    prove: Prove,
    force: bool,
    copy: bool,
    tick: Tick,
) -> None:
    _check_apart(source, out)
    with published(out, force=force) as new:
        new.mkdir()
        for name, held in settings.items():
            write_file(new / name, held)
        prove(new)
        for entry in source.rest:
            if entry.name in settings:
                continue
            how = place_file(entry.path, new / entry.name, copy=copy or not entry.is_weights, tick=tick)
            written.placed[how] = written.placed.get(how, 0) + 1


def _check_apart(source: Source, out: Path) -> None:
    """ValueError where the new folder would lie inside of the old one, or the other way round."""
    place = out.resolve()
    if place.is_relative_to(source.folder.resolve()):
        raise ValueError(f"{out} lies in the checkpoint: choose a place beside it, the source is never touched")
    if any(entry.path.is_relative_to(place) for entry in source.entries):
        raise ValueError(f"{out} holds the checkpoint itself: choose another name, the source is never touched")
