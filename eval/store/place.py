"""Where a run lies: its record, rewritten whole as it grows, and the answers that the record is made from."""

from __future__ import annotations

import json
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
        """Return the record that is there and may be added to; with `force` remove what an earlier run left.

        Raises:
            ValueError: Something else is there.
        """
        if self.answers.exists() and not self.answers.is_dir():
            raise ValueError(f"{self.answers} is a file: name a folder for the run, or a file that ends in .json")
        if self.record.parent.is_dir():
            self._tidy()
        if force:
            refuse_existing(self.record, force)
            with whole_folder(self.answers):
                for path in (self.record, *self.answers.glob(PATTERN)):
                    path.unlink(missing_ok=True)
            return None
        record = self.read()
        if record is None:
            self._refuse_damaged()
            refuse_existing(self.record, force)
        return record

    def _refuse_damaged(self) -> None:
        """Raise ValueError where answers lie beside what is no JSON: to start over would throw them away."""
        if not self.record.is_file() or not any(self.answers.glob(PATTERN)):
            return
        try:
            json.loads(self.record.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(
                f"{self.record} is damaged ({error}), the answers beside it are not lost: remove this file alone and "
                "give the commands of the run again, which computes nothing twice (--force would remove the answers)"
            ) from None

    def write(self, record: dict[str, Any]) -> None:
        """Write the record in place of the one that is there."""
        write_json(self.record, record, force=True)

    def lock(self) -> FileLock:
        """Return what to hold while the record is read, changed and written: others may add to the same run."""
        self.answers.mkdir(parents=True, exist_ok=True)
        return FileLock(self.answers / ".record.lock")

    def _tidy(self) -> None:
        """Remove what writers of the record left that were killed."""
        with self.lock():
            for scratch in self.record.parent.glob(f".{self.record.name}-*"):
                shutil.rmtree(scratch, ignore_errors=True)

    def read(self) -> dict[str, Any] | None:
        """Return a record of ours in this format, None for anything else."""
        try:
            record = json.loads(self.record.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        ours = isinstance(record, dict) and (record.get("kind"), record.get("format")) == (KIND, FORMAT)
        return record if ours else None
