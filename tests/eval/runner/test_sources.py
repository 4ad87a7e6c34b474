from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from rope_scaling.eval.embedded import EMBEDDED
from rope_scaling.eval.runner.grid import Grid
from rope_scaling.eval.runner.sources import Source, sources
from rope_scaling.eval.tasks.common.generated import Generated
from rope_scaling.eval.tasks.configs import rope_rows, rope_tasks
from tests.eval.tasks.tokenizers import tokenizer


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def grid(*names: str, **options: Any) -> Grid:
    return Grid(names, **{"lengths": (512, 640), "depths": (0.0, 1.0), "samples": 3, **options})


def places(rows: Any) -> list[tuple[Any, ...]]:
    return [(row["length"], row.get("depth"), row["index"]) for row in rows]


@pytest.mark.parametrize("name", ["rope_passkey", "rope_passkey_mc", "rope_vt", "rope_kv_mc", "rope_ppl"])
def test_documents_are_those_that_lm_eval_is_given(name: str) -> None:
    metadata: dict[str, Any] = {"lengths": [512, 640], "depths": [0.0, 1.0], "samples": 3, "seed": 2}
    (config,) = rope_tasks(tokenizer(), [name], **metadata)
    expected = config["custom_dataset"]()["test"].to_list()
    assert rope_rows(name, tokenizer(), **metadata) == expected
    assert rope_rows(name, tokenizer(), **metadata) == expected  # from disk


def test_what_was_made_before_is_not_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    few = rope_rows("rope_vt", tokenizer(), [512], 2)
    made: list[tuple[int, int]] = []
    document = Generated.document

    def watched(self: Generated, count: Any, cell: Any, options: Any) -> Any:
        made.append((cell.length, cell.index))
        return document(self, count, cell, options)

    monkeypatch.setattr(Generated, "document", watched)
    more = rope_rows("rope_vt_mc", tokenizer(), [512, 640], 3)  # chosen or written, the questions are the same
    assert made == [(512, 2), (640, 0), (640, 1), (640, 2)]
    assert [row for row in more if row["length"] == 512][:2] == few


def test_another_tokenizer_seed_depth_or_option_has_its_own_documents() -> None:
    def rows(name: str = "trained", **options: Any) -> Any:
        return rope_rows("rope_vt", tokenizer(name), [700], 1, **options)

    assert len({str(one) for one in (rows(), rows("characters"), rows(seed=1), rows(chains=3))}) == 4
    assert len(rope_rows("rope_kv", tokenizer(), [700], 1, [0.0])) == 1
    assert len(rope_rows("rope_kv", tokenizer(), [700], 1, [0.0, 1.0])) == 2


def test_a_limit_takes_as_many_of_each_length() -> None:
    (source,) = sources(grid("rope_kv", limit=5), tokenizer())
    assert places(source.rows({512: 3, 640: 3})) == [(512, 0, 0), (640, 0, 0), (512, 1, 0), (640, 1, 0)]
    (texts,) = sources(grid("rope_ppl", limit=4), tokenizer())
    assert places(texts.rows({512: 3, 640: 3})) == [(512, None, 0), (512, None, 1), (640, None, 0), (640, None, 1)]


def test_more_samples_begin_with_fewer_whatever_the_other_lengths_get() -> None:
    (source,) = sources(grid("rope_vt"), tokenizer())
    few, more = source.rows({512: 1, 640: 1}), source.rows({512: 1, 640: 3})
    assert [row for row in more if row["index"] == 0] == few
    assert places(more) == [(512, None, 0), (640, None, 0), (640, None, 1), (640, None, 2)]


def test_groups_and_rulers_names_become_tasks() -> None:
    names = [source.name for source in sources(grid("rope_quick", "rope_vt_mc", "ruler_vt"), tokenizer())]
    quick = ["rope_passkey_mc", "rope_niah_single_mc", "rope_niah_multikey_mc", "rope_vt_mc", "rope_ppl"]
    assert names == [*quick, "ruler_vt"]


@pytest.mark.parametrize(
    ("name", "metric", "threshold", "chance"),
    [
        ("rope_kv", "acc", "needle", 0),
        ("rope_kv_mc", "acc", "needle", 0.25),
        ("rope_vt", "acc", "ruler", 0),
        ("niah_single_1", "acc", "ruler", 0),
        ("rope_ppl", "nll", None, None),
    ],
)
def test_a_task_says_what_its_scores_mean(name: str, metric: str, threshold: str | None, chance: float | None) -> None:
    path = str(EMBEDDED["macbeth"])
    meaning = Source(name, grid(name, options={"text": path}), tokenizer()).meaning()
    content = hashlib.sha256(EMBEDDED["macbeth"].read_bytes()).hexdigest()
    assert meaning == {
        "metric": metric,
        "higher_is_better": metric == "acc",
        "threshold": threshold,
        "chance": chance,
        "options": {"seed": 0, "text": {"path": path, "sha256": content}},
    }


@pytest.mark.parametrize(
    ("names", "options", "told"),
    [
        ((), {}, "--tasks names no task"),
        (("rope_vt",), {"lengths": ()}, "--tasks needs --lengths"),
        (("rope_vt",), {"samples": 0}, "samples, .*, must be at least 1"),
        (("rope_vt",), {"depths": (2.0,)}, "depths must be a list of numbers from 0 to 1"),
        (("rope_vt",), {"limit": 1}, "--limit, questions of a task, must be at least 2, got 1"),
        (("rope_vt",), {"target": 1.5}, "--target-stderr must be between 0 and 1"),
        (("rope_vt",), {"options": {"hop": 3}}, "unknown metadata 'hop' for --metadata: did you mean 'hops'"),
        (("rope_vt",), {"options": {"seed": 3}}, "--metadata says what --seed is for"),
        (
            ("rope_vt", "rope_ppl"),
            {"options": {"colour": 3}},
            r"'colour' is for none .*chains \(rope_vt\); .*text \(",
        ),
        (
            ("rope_kv",),
            {"options": {"chains": 3}},
            r"'chains' is for none .* They take needle \(rope_kv\)",
        ),
        (("rope_passkey",), {"options": {"text": "x"}}, "They take nothing beside the grid"),
        (("rope_vt",), {"options": {"tokenizer": "x"}}, "'tokenizer' is for none of the tasks"),
        (("niah_single_1",), {"options": {"add_bos_token": True}}, "'add_bos_token' is for none of the tasks"),
        (("rope_ppl",), {"options": {"text": ["a"]}}, "text must name a readable UTF-8 file, got"),
        (("rope_ppl",), {"options": {"text": "gone.txt"}}, "text must name a readable UTF-8 file, got 'gone.txt'"),
        (("rope_tv",), {}, "unknown task 'rope_tv': did you mean 'rope_vt'"),
        (("niah_singel_1",), {}, "unknown task 'niah_singel_1': did you mean 'niah_single_1'"),
        (("hellaswag",), {}, "every other task of lm-eval runs with rope-scaling lm-eval"),
        (("ruler_qa_squad",), {}, "reads a question set that lm-eval downloads"),
    ],
)
def test_what_cannot_be_asked_is_told(names: tuple[str, ...], options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        [source.meaning() for source in sources(grid(*names, **options), tokenizer())]


def test_every_option_that_the_documents_name_is_taken_by_its_task() -> None:
    taken = {
        "rope_niah_single": {"haystack": "text", "needle": "word", "text": str(EMBEDDED["macbeth"])},
        "rope_vt_mc": {"chains": 3, "hops": 2},
        "rope_cwe": {"common": 5},
        "rope_kv": {"needle": "word"},
        "rope_ppl": {"text": str(EMBEDDED["macbeth"])},
        "rope_ppl_stride": {"stride": 64},
        "rope_ppl_window": {"window": 256, "stride": 32},
        "rope_longppl": {"evaluator": "x", "evaluator_scheme": "none", "short": 64, "alpha": 1.0, "beta": -2.0},
    }
    for name, options in taken.items():
        assert [source.name for source in sources(grid(name, options=options), tokenizer())] == [name]


def test_questions_follow_what_a_text_holds_and_not_where_it_lies(tmp_path: Path) -> None:
    def prompts(path: Path, name: str) -> list[str]:
        source = Source(name, grid(name, samples=1, options={"text": str(path)}), tokenizer())
        return [row["input"] + row["answer"] for row in source.rows({512: 1})]

    text = EMBEDDED["macbeth"].read_text(encoding="utf-8")
    first, moved = tmp_path / "a.txt", tmp_path / "b.txt"
    for name in ("rope_niah_single_text", "rope_ppl"):
        first.write_text(text, encoding="utf-8")
        before = prompts(first, name)
        moved.write_text(text, encoding="utf-8")
        first.write_text(text.upper(), encoding="utf-8")  # in the same process: nothing may remember the path
        assert prompts(moved, name) == before
        assert prompts(first, name) != before
    cached = [path.name for path in (tmp_path / "rope-scaling" / "tasks").iterdir()]
    assert len(cached) == 2 * 2


def test_a_text_that_changes_during_a_run_stops_it(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text(EMBEDDED["macbeth"].read_text(encoding="utf-8"), encoding="utf-8")
    (source,) = sources(grid("rope_ppl", samples=1, options={"text": str(path)}), tokenizer())
    source.rows({512: 1})
    path.write_text("other " * 2000, encoding="utf-8")
    with pytest.raises(ValueError, match=r"a\.txt was changed while it was asked about"):
        source.rows({512: 1})
