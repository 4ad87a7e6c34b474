"""A run's answers by model and question, read back from disk and added to as they come."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from torch import Tensor

from rope_scaling.eval.processes import ALONE, Processes
from rope_scaling.eval.store.kept import broken, check_line
from rope_scaling.eval.store.keys import digest
from rope_scaling.eval.store.lines import Lines, placed_lines
from rope_scaling.eval.store.numbers import unpacked


class Answers:
    """What was computed, by model and question.

    A unit of work is added as one line, so a process that is killed leaves all of it or nothing.

    Args:
        folder: where lines are kept, by this process and others; None keeps them in memory only.
        processes: those that share the run; each adds to a file of its own.
        anew: leave out what lies in the folder: it will be started over.

    Raises:
        ValueError: A file there was edited, and not by this.
    """

    def __init__(self, folder: Path | None, processes: Processes = ALONE, *, anew: bool = False) -> None:
        self.folder, self.processes = folder, processes
        self._new: list[dict[str, Any]] = []  # what the other processes have not been told yet
        self._lines: Lines | None = None
        self._told: set[str] = set()
        self._kept: dict[str, dict[str, Any]] = {}
        self._seconds: dict[str, dict[str, float]] = {}
        self._nll: dict[str, dict[str, str]] = {}
        for place, line in placed_lines(folder) if folder and folder.is_dir() and not anew else ():
            check_line(line, place)
            self._take(line)
        processes.gather(None)  # none of them writes before all have read

    def get(self, model: str, question: str) -> Any:
        """Return the answer, None where there is none."""
        return self._kept.get(model, {}).get(question)

    def nll(self, model: str, question: str) -> Tensor | None:
        """Return the nats of each token of a text that was scored, (tokens,), None where they were not kept.

        Raises:
            ValueError: They are no such numbers.
        """
        text = self._nll.get(model, {}).get(question)
        try:
            return None if text is None else unpacked(text)
        except ValueError as error:
            raise self.broken(model, question, f"'nll' has {question!r} that holds no numbers ({error})") from None

    def broken(self, model: str, question: str, what: str) -> ValueError:
        """Return the error that says where an answer was read from, and what is wrong with it."""
        for place, line in placed_lines(self.folder) if self.folder else ():
            if line.get("model") == model and question in (line.get("answers") or ()):
                return broken(place, what)
        return broken(str(self.folder), what)

    def add(
        self, model: Mapping[str, Any], answers: Mapping[str, Any], seconds: float, nll: Mapping[str, str] | None = None
    ) -> None:
        """Keep a unit's answers.

        Args:
            model: its `identity`.
            answers: by question.
            seconds: what they took together.
            nll: of questions that are texts to score, the nats of each token, packed.
        """
        key = digest(model)
        line = {"model": key, "seconds": round(seconds, 4), "answers": dict(answers)}
        line |= {"nll": dict(nll)} if nll else {}
        if self.folder is not None:
            self._lines = self._lines or Lines(self.folder)
            if key not in self._told:
                self._lines.append({"model": key, "identity": dict(model)})  # for people; nothing reads it back
                self._told.add(key)
            self._lines.append(line)
        if self.processes.count > 1:
            self._new.append(line)
        self._take(line)

    def exchange(self) -> None:
        """Take in what the other processes have added; all of them must call it."""
        if self.processes.count == 1:
            return
        told = self.processes.gather(self._new)
        self._new = []
        for line in (line for lines in told for line in lines):
            self._take(line)

    def seconds(self, model: str, questions: Iterable[str]) -> float:
        """Return what it took to answer these, each an equal share of its unit."""
        shares = self._seconds.get(model, {})
        return sum(shares.get(question, 0.0) for question in questions)

    def close(self) -> None:
        """Let others write the file."""
        if self._lines is not None:
            self._lines.close()
            self._lines = None

    def __enter__(self) -> Answers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _take(self, line: Mapping[str, Any]) -> None:
        answers, model = line.get("answers"), line.get("model")
        if not isinstance(answers, dict) or not isinstance(model, str):
            return
        kept = self._kept.setdefault(model, {})
        shares, nll = self._seconds.setdefault(model, {}), self._nll.setdefault(model, {})
        for question, answer in answers.items():
            if question not in kept:
                kept[question] = answer
                shares[question] = line.get("seconds", 0.0) / len(answers)
                nll |= {question: line["nll"][question]} if question in line.get("nll", {}) else {}
