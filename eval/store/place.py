"""Where a run lies: its record, rewritten whole as it grows, and the answers that the record is made from."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from rope_scaling.eval.results import refuse_existing, write_json
from rope_scaling.eval.store.lines import PATTERN, whole_folder

KIND, FORMAT = "rope-scaling eval", 3


@dataclass(frozen=True)
class Place:
    """What `-o` names: a folder with `run.json` in it, or a JSON file with a folder for its answers beside it.

    Attributes:
        record: the file that reports are made from.
        answers: the folder of what was computed.
    """

    record: Path
    answers: Path

    @classmethod
    def of(cls, output: Path) -> Place:
        """Return the place that a path names."""
        if output.suffix.lower() == ".json":
            return cls(output, output.with_suffix(".answers"))
        return cls(output / "run.json", output)

    def begin(self, force: bool) -> dict[str, Any] | None:
        """Return the record that is there and may be added to; None where there is none, or with `force`.

        Nothing is changed: what is asked may still be refused.

        Raises:
            ValueError: Something else is there, or nothing can be written there.
        """
        if self.answers.exists() and not self.answers.is_dir():
            raise ValueError(f"{self.answers} is a file: name a folder for the run, or a file that ends in .json")
        for folder in (self.record.parent, self.answers):
            _refuse_read_only(folder)
        if force:
            refuse_existing(self.record, force)
            return None
        return self.read()

    def clear(self) -> None:
        """Remove what an earlier run left.

        Raises:
            ValueError: Another process writes there.
        """
        with whole_folder(self.answers):
            for path in (self.record, *self.answers.glob(PATTERN)):
                path.unlink(missing_ok=True)

    def kept(self) -> int:
        """Return the bytes of all answers that lie there."""
        return sum(path.stat().st_size for path in self.answers.glob(PATTERN))

    def write(self, record: dict[str, Any]) -> None:
        """Write the record in place of the one that is there; hold `lock` meanwhile."""
        for scratch in self.record.parent.glob(f".{self.record.name}-*"):  # left by writers that were killed
            shutil.rmtree(scratch, ignore_errors=True)
        try:
            write_json(self.record, record, force=True)
        except OSError as error:
            raise OSError(
                f"{self.record} cannot be written: {error.strerror or error}. The answers in {self.answers} are kept: "
                "make room and give the same command again, which computes nothing twice"
            ) from None

    def lock(self) -> FileLock:
        """Return what to hold while the record is read, changed and written: others may add to the same run."""
        self.answers.mkdir(parents=True, exist_ok=True)
        return FileLock(self.answers / ".record.lock")

    def read(self) -> dict[str, Any] | None:
        """Return the record that is there, None where there is none.

        Raises:
            ValueError: It is damaged, of another format, or no record of ours.
        """
        try:
            content = self.record.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise self._unreadable(error) from None
        try:
            record = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise self._unreadable(error) from None
        if not isinstance(record, dict) or record.get("kind") != KIND:
            refuse_existing(self.record, force=False)
        _refuse_other_format(self.record, record.get("format"))
        return dict(record)

    def _unreadable(self, error: Exception) -> ValueError:
        """Return what to do about a file that is no JSON; to start over would throw away the answers beside it."""
        if not any(self.answers.glob(PATTERN)):
            refuse_existing(self.record, force=False)
        return ValueError(
            f"{self.record} is damaged ({error}), the answers beside it are not lost: remove this file alone and "
            "give the commands of the run again, which computes nothing twice (--force would remove the answers)"
        )


def _refuse_other_format(record: Path, number: object) -> None:
    if number == FORMAT and not isinstance(number, bool):
        return
    if isinstance(number, int) and number > FORMAT:
        raise ValueError(
            f"{record} is a record of format {number}, written by a newer rope-scaling; this one writes format "
            f"{FORMAT} and would lose what it does not know: install the rope-scaling that wrote it (pip install -U "
            "rope-scaling), or choose another --output"
        )
    raise ValueError(
        f"{record} is a record of format {number!r}, which cannot be added to; this version writes {FORMAT}: choose "
        "another --output, or pass --force to start it over"
    )


def _refuse_read_only(folder: Path) -> None:
    """Raise ValueError where neither the folder nor what it would be made in can be written to."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        raise ValueError(f"{there} is a file, so {folder} cannot be made: choose another --output")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ValueError(f"{there} cannot be written to: choose another --output, or get the right to write there")
