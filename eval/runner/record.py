"""The record of a run, to which several commands may add as long as they are about the same thing."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rope_scaling.eval.results import peak_memory, versions
from rope_scaling.eval.runner.earlier import check_earlier
from rope_scaling.eval.runner.entries import Entry, merged
from rope_scaling.eval.runner.job import Job
from rope_scaling.eval.store.place import FORMAT, KIND, Place

Record = dict[str, Any]

SAME = {
    ("checkpoint", "dtype"): "another --dtype",
    ("checkpoint", "device"): "another --device",
    ("checkpoint", "fingerprint"): "another checkpoint, or other weights of the same name",
    ("checkpoint", "original_max_position_embeddings"): "another trained length",
    ("settings", "on_scaled"): "another --on-scaled",
    ("settings", "original_max_length"): "another --original-max-length",
    ("versions", "rope-scaling"): "another version of rope-scaling",
    ("versions", "torch"): "another version of torch",
    ("versions", "transformers"): "another version of Transformers",
}
"""What commands must have in common to be told in one record, and what it means where they have not."""

_TEXT = ("text", "lengths", "window")


def head_of(job: Job, checkpoint: Record) -> Record:
    """Return all that is needed to get the numbers again."""
    return {
        "kind": KIND,
        "format": FORMAT,
        "command": sys.argv,
        "commands": [sys.argv],
        "versions": versions(),
        "checkpoint": {"name": job.checkpoint, **checkpoint},
        "settings": dataclasses.asdict(job.plan),
    }


class RunRecord:
    """A record that grows by parts and is on disk, whole, after each.

    Args:
        head: what is known before anything is computed.
        place: where it is written; None keeps it in memory.
        earlier: what is there already.

    Raises:
        ValueError: What is there is about something else.
    """

    def __init__(self, head: Record, place: Place | None = None, earlier: Record | None = None) -> None:
        self.head, self.place = head, place
        if earlier is not None and place is not None:
            check_earlier(earlier, place.record)
        self.value = self._joined(earlier)

    def add_entry(self, task: str, meaning: Mapping[str, Any], scheme: str, entry: Entry) -> None:
        """Put one scheme's answers to one task beside those that are there, and write."""
        with self._latest() as value:
            self.refuse_other_task(task, meaning)
            tasks = value.setdefault("tasks", {})
            schemes: dict[str, Entry] = tasks.setdefault(task, {**meaning, "schemes": {}})["schemes"]
            schemes[scheme] = merged(schemes[scheme], entry) if scheme in schemes else entry

    def add_rows(self, part: Mapping[str, Any]) -> None:
        """Put the rows of a text beside those of other schemes over the same text, and write."""
        with self._latest() as value:
            self.refuse_other_text(part)
            names = {row["scheme"] for row in part["rows"]}
            others = [row for row in value.get("rows", []) if row["scheme"] not in names]
            value |= {**part, "rows": [*others, *part["rows"]]}

    def add_passkeys(self, results: Mapping[str, Any]) -> None:
        """Put passkeys beside those of other schemes, and write."""
        with self._latest() as value:
            value["passkey"] = value.get("passkey", {}) | results

    def refuse_other_task(self, task: str, meaning: Mapping[str, Any]) -> None:
        """Raise ValueError where the run asked this task otherwise: its questions would be told as one."""
        known = self.value.get("tasks", {}).get(task, {})
        if not known:
            return
        if not same_options(known["options"], meaning["options"]):
            raise self._refusal(f"{task} with {known['options']}, this asks it with {meaning['options']}")
        for key in meaning.keys() - {"options"}:
            if key not in known or known[key] != meaning[key]:
                raise self._refusal(f"{task} with {key} = {known.get(key, 'nothing')}, here it is {meaning[key]}")

    def refuse_other_ranges(self, task: str, lengths: Sequence[int]) -> None:
        """Raise ValueError where a length would stand for other positions than in the run; more may follow its last."""
        schemes = self.value.get("tasks", {}).get(task, {}).get("schemes", {})
        known = sorted({cell["length"] for entry in schemes.values() for cell in entry["cells"]})
        if any(before != now for before, now in zip(known, sorted(lengths), strict=False)):
            raise self._refusal(
                f"{task} by the ranges of positions that end at {known}, this asks for {sorted(lengths)} (lengths "
                "beyond the last can be added)"
            )

    def refuse_other_text(self, part: Mapping[str, Any]) -> None:
        """Raise ValueError where the run has rows of another text, or of other ranges of it."""
        for key in _TEXT if "rows" in self.value else ():
            if self.value[key] != part[key]:
                raise self._refusal(f"perplexities with {key} = {self.value[key]}, this asks for {part[key]}")

    def refuse_other_passkeys(self, lengths: tuple[int, ...], samples: int) -> None:
        """Raise ValueError where the run has passkeys of other lengths, or another number of them."""
        for result in self.value.get("passkey", {}).values():
            asked = {row["length"]: row["samples"] for row in result["accuracy"]}
            if asked != dict.fromkeys(lengths, samples):
                raise self._refusal(
                    f"passkeys at {sorted(asked)}, {max(asked.values())} each, this asks for {samples} at "
                    f"{list(lengths)} (the task rope_passkey can be asked at more lengths later)"
                )

    @contextlib.contextmanager
    def _latest(self) -> Iterator[Record]:
        """Take in what other processes have written, yield the record to be changed, then write it."""
        if self.place is None:
            yield self.value
            return
        with self.place.lock():
            earlier = self.place.read()
            if earlier is not None:
                check_earlier(earlier, self.place.record)
            self.value = self._joined(earlier)
            yield self.value
            self.value["peak_rss_bytes"] = peak_memory()
            self.place.write(self.value)

    def _joined(self, earlier: Record | None) -> Record:
        """Return what is there under the head of this command.

        Raises:
            ValueError: It is about something else.
        """
        if earlier is None:
            return dict(self.head)
        for (part, key), told in SAME.items():
            before, now = (_said(record, part, key) for record in (earlier, self.head))
            if before != now:
                raise self._refusal(f"{told}: {before}, this is {now}")
        commands = earlier["commands"]
        mine = self.head["command"]
        return earlier | self.head | {"commands": commands if mine in commands else [*commands, mine]}

    def _refusal(self, what: str) -> ValueError:
        name = self.place.record if self.place else "this run"
        return ValueError(f"{name} holds {what}: choose another --output, or start this one over with --force")


def same_options(before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether both ask the same questions: a text is what it holds; of older runs its path alone is known."""
    told, text = before.get("text"), now.get("text")
    if isinstance(text, Mapping):
        text = text["sha256"] if isinstance(told, Mapping) else text["path"]
        told = told.get("sha256") if isinstance(told, Mapping) else told
    return bool(told == text and {**before, "text": None} == {**now, "text": None})


def _said(record: Record, part: str, key: str) -> Any:
    """Return what two records must share; which of several GPUs it was does not matter."""
    value = record.get(part, {}).get(key)
    return value.split(":")[0] if key == "device" and isinstance(value, str) else value
