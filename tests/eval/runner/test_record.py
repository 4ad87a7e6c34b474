from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rope_scaling.eval.runner.entries import cells, merged
from rope_scaling.eval.runner.record import RunRecord
from rope_scaling.eval.store.place import FORMAT, KIND, Place
from tests.eval.report import records

MEANING = {"metric": "acc", "higher_is_better": True, "threshold": "needle", "chance": 0, "options": {"seed": 0}}


def head(command: str = "first", **changes: Any) -> dict[str, Any]:
    checkpoint: Any = {"name": "tiny", "model_type": "llama", "fingerprint": "f", "dtype": "float32", "device": "cpu"}
    checkpoint |= {"original_max_position_embeddings": 32}
    settings = {"on_scaled": None, "original_max_length": None}
    versions = {"rope-scaling": "1", "torch": "2", "transformers": "5"}
    parts: Any = {"checkpoint": checkpoint, "settings": settings, "versions": versions}
    for key, value in changes.items():
        part = next(name for name, one in parts.items() if key in one)
        parts[part] = parts[part] | {key: value}
    return {"kind": KIND, "format": FORMAT, "command": [command], "commands": [[command]], **parts}


def answer(key: str, length: int = 8, depth: float | None = None, score: float = 1.0, index: int = 0) -> dict[str, Any]:
    return {"key": key, "length": length, "depth": depth, "index": index, "score": score} | {
        "prompt_end": "?",
        "expected": ["7"],
        "got": "7",
    }


def entry(*answers: dict[str, Any], seconds: float = 1.0) -> dict[str, Any]:
    ordered = sorted(answers, key=lambda one: (one["length"], one["depth"] or -1, one["index"]))
    return {"cells": cells(ordered), "answers": ordered, "truncated_requests": {}, "seconds": seconds}


def row(scheme: str) -> dict[str, Any]:
    return records.row(scheme, records.base(), None, records.base())


def text(*schemes: str, sha256: str = "s") -> dict[str, Any]:
    about = {"text": {"sha256": sha256}, "lengths": list(records.EDGES), "window": {"stride": 2}}
    return about | {"block": records.BLOCK, "rows": [row(one) for one in schemes]}


def passkeys() -> dict[str, Any]:
    told = [{"length": 8, "samples": 5, "accuracy": 1.0}]
    return {"none": records.keys({8: 5}) | {"accuracy": told}}


def begun(**changes: Any) -> dict[str, Any]:
    """A record with something in it."""
    return head(**changes) | {"passkey": passkeys()}


def test_a_record_is_on_disk_after_every_part(tmp_path: Path) -> None:
    place = Place.of(tmp_path)
    record = RunRecord(head(), place)
    assert not place.record.exists()
    record.add_entry("rope_vt", MEANING, "none", entry(answer("a")))
    record.add_rows(text("none", "window"))
    record.add_passkeys(passkeys())
    written = json.loads(place.record.read_text())
    assert written == record.value
    assert written["tasks"]["rope_vt"] == {**MEANING, "schemes": {"none": entry(answer("a"))}}
    assert (written["rows"], written["passkey"]) == ([row("none"), row("window")], passkeys())


def test_another_command_adds_to_what_is_there(tmp_path: Path) -> None:
    place = Place.of(tmp_path)
    RunRecord(head(), place).add_entry("rope_vt", MEANING, "none", entry(answer("a")))
    later = RunRecord(head("second"), place, place.read())
    later.add_entry("rope_vt", MEANING, "ntk", entry(answer("a", score=0.0)))
    later.add_entry("rope_kv", MEANING, "ntk", entry(answer("b")))
    record = json.loads(place.record.read_text())
    assert {task: list(one["schemes"]) for task, one in record["tasks"].items()} == {
        "rope_vt": ["none", "ntk"],
        "rope_kv": ["ntk"],
    }
    assert (record["command"], record["commands"]) == (["second"], [["first"], ["second"]])


def test_two_processes_that_add_to_one_run_lose_nothing(tmp_path: Path) -> None:
    place = Place.of(tmp_path)
    one, other = RunRecord(head(), place), RunRecord(head("second"), place)
    one.add_entry("rope_vt", MEANING, "none", entry(answer("a")))
    other.add_entry("rope_vt", MEANING, "ntk", entry(answer("a")))
    one.add_rows(text("none"))
    other.add_rows(text("ntk"))
    record = json.loads(place.record.read_text())
    assert list(record["tasks"]["rope_vt"]["schemes"]) == ["none", "ntk"]
    assert record["rows"] == [row("none"), row("ntk")]


def test_answers_of_other_lengths_join_and_those_of_the_same_questions_do_not_count_twice() -> None:
    earlier = entry(answer("a", 8, 0.0), answer("b", 8, 1.0, score=0.0), seconds=2.0)
    later = entry(answer("b", 8, 1.0, score=1.0), answer("c", 16, 0.0), answer("d", 8, 1.0, index=1), seconds=3.0)
    both = merged(earlier, later)
    assert [one["key"] for one in both["answers"]] == ["a", "b", "d", "c"]
    assert both["cells"] == [
        {"length": 8, "depth": 0.0, "samples": 1, "score": 1.0},
        {"length": 8, "depth": 1.0, "samples": 2, "score": 1.0},
        {"length": 16, "depth": 0.0, "samples": 1, "score": 1.0},
    ]
    assert both["seconds"] == 4.0
    assert merged(later, later) == later


def test_nats_of_texts_count_by_their_tokens() -> None:
    (cell,) = cells([answer("a", score=2.0) | {"tokens": 30}, answer("b", score=4.0) | {"tokens": 10}])
    assert cell == {"length": 8, "depth": None, "samples": 2, "score": 2.5}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"fingerprint": "g"}, "holds another checkpoint, or other weights of the same name: f, this is g"),
        ({"dtype": "bfloat16"}, "holds another --dtype: float32, this is bfloat16"),
        ({"device": "cuda:0"}, "holds another --device: cpu, this is cuda"),
        ({"on_scaled": "compose"}, "holds another --on-scaled: None, this is compose"),
        ({"original_max_length": 16}, "holds another --original-max-length"),
        ({"torch": "3"}, "holds another version of torch: 2, this is 3"),
    ],
)
def test_a_command_about_something_else_is_refused(tmp_path: Path, changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=rf"run\.json {told}.*: choose another --output, or .* with --force"):
        RunRecord(head(**changes), Place.of(tmp_path), begun())


def test_which_gpu_it_was_does_not_matter(tmp_path: Path) -> None:
    RunRecord(head(device="cuda:1"), Place.of(tmp_path), begun(device="cuda:0"))


def test_questions_of_another_seed_or_text_are_refused() -> None:
    record = RunRecord(head())
    record.add_entry("rope_vt", MEANING, "none", entry(answer("a")))
    with pytest.raises(ValueError, match=r"rope_vt with \{'seed': 0\}, this asks it with \{'seed': 1\}"):
        record.refuse_other_task("rope_vt", MEANING | {"options": {"seed": 1}})
    record.refuse_other_task("rope_kv", MEANING | {"options": {"seed": 1}})
    record.add_rows(text("none"))
    with pytest.raises(ValueError, match="perplexities with text"):
        record.refuse_other_text(text("ntk", sha256="t"))


def test_other_ranges_of_positions_are_refused_and_later_ones_may_be_added() -> None:
    record = RunRecord(head())
    record.refuse_other_ranges("rope_ppl", (8, 32))
    record.add_entry("rope_ppl", MEANING, "none", entry(answer("a", 8), answer("b", 32)))
    for lengths in ((8,), (32, 8), (8, 32, 64)):
        record.refuse_other_ranges("rope_ppl", lengths)
    for lengths in ((32,), (8, 16, 32), (8, 64), (4, 8, 32)):
        with pytest.raises(ValueError, match=r"rope_ppl by the ranges of positions that end at \[8, 32\], this asks"):
            record.refuse_other_ranges("rope_ppl", lengths)


def test_passkeys_of_other_lengths_are_refused() -> None:
    record = RunRecord(head())
    record.refuse_other_passkeys((8, 16), 5)
    record.add_passkeys({"none": {"accuracy": [{"length": 8, "samples": 5}]}})
    record.refuse_other_passkeys((8,), 5)
    with pytest.raises(ValueError, match=r"passkeys at \[8\], 5 each, this asks for 5 at \[8, 16\]"):
        record.refuse_other_passkeys((8, 16), 5)


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ({"path": "a.txt", "sha256": "s"}, {"path": "elsewhere/b.txt", "sha256": "s"}),
        ("a.txt", {"path": "a.txt", "sha256": "s"}),  # as older runs tell it
    ],
)
def test_a_text_that_was_moved_is_the_same_question(before: Any, now: Any) -> None:
    record = RunRecord(head())
    record.add_entry("rope_ppl", MEANING | {"options": {"seed": 0, "text": before}}, "none", entry(answer("a")))
    record.refuse_other_task("rope_ppl", MEANING | {"options": {"seed": 0, "text": now}})


@pytest.mark.parametrize("now", [{"path": "a.txt", "sha256": "t"}, None, {"path": "b.txt", "sha256": "t"}])
def test_a_text_that_was_edited_is_another_question(now: Any) -> None:
    record = RunRecord(head())
    told = {"path": "a.txt", "sha256": "s"}
    record.add_entry("rope_ppl", MEANING | {"options": {"seed": 0, "text": told}}, "none", entry(answer("a")))
    options = {"seed": 0} if now is None else {"seed": 0, "text": now}
    with pytest.raises(ValueError, match=r"holds rope_ppl with .* this asks it with"):
        record.refuse_other_task("rope_ppl", MEANING | {"options": options})


def test_a_task_whose_scores_meant_something_else_is_refused() -> None:
    record = RunRecord(head())
    record.add_entry("rope_vt", MEANING | {"chance": 0.5}, "none", entry(answer("a")))
    with pytest.raises(ValueError, match=r"rope_vt with chance = 0\.5, here it is 0: choose another --output"):
        record.refuse_other_task("rope_vt", MEANING)
