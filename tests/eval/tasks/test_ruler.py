from __future__ import annotations

import io
import random
import re
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import wonderwords

from rope_scaling.eval.embedded import EMBEDDED
from rope_scaling.eval.tasks.common import cache
from rope_scaling.eval.tasks.ruler import generate
from rope_scaling.eval.tasks.ruler.task import process_results, ruler_tasks
from tests.eval.tasks.tokenizers import tokenizer

MACBETH = str(EMBEDDED["macbeth"])


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


@pytest.fixture
def _few_words(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """lm-eval pairs all adjectives with all nouns when it is imported: six million keys, ten seconds."""

    class Few(wonderwords.RandomWord):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self._categories = {name: words[:50] for name, words in self._categories.items()}

    modules = [f"lm_eval.tasks.ruler.{name}" for name in ("prepare_niah", "niah_utils")]
    kept = {name: sys.modules.pop(name, None) for name in modules}
    monkeypatch.setattr(wonderwords, "RandomWord", Few)
    yield
    for name, module in kept.items():
        sys.modules.pop(name, None)
        if module is not None:
            sys.modules[name] = module


def documents(names: list[str], lengths: list[int], samples: int = 2, seed: int = 0, **options: Any) -> Any:
    (config,) = ruler_tasks(tokenizer(), names, lengths, samples, seed, **options)
    return config["custom_dataset"]()["test"].to_list()


@pytest.mark.usefixtures("_few_words")
def test_needles_of_lm_evals_own_wording_fit_their_lengths() -> None:
    rows = documents(["niah_single_1"], [512, 1024])
    assert [row["max_length"] for row in rows] == [512, 1024] * 2  # so that a limit takes as many of each
    for row in rows:
        key = re.findall(r"number for ([\w-]+) mentioned", row["gen_prefix"])[0]
        assert f"One of the special magic numbers for {key} is: {row['outputs'][0]}." in row["input"]
        prompt = len(tokenizer()(f"{row['input']} {row['gen_prefix']}").input_ids)
        assert row["max_length"] * 0.75 < prompt + 128 <= row["max_length"]


@pytest.mark.parametrize("name", ["ruler_vt", "ruler_cwe", "ruler_fwe"])
def test_the_other_tasks_fit_with_what_is_generated(name: str) -> None:
    budget = {"ruler_vt": 30, "ruler_cwe": 120, "ruler_fwe": 50}[name]
    for row in documents([name], [1536], samples=1):
        prompt = len(tokenizer()(f"{row['input']}\n\n{row['gen_prefix']}").input_ids)
        assert 1536 / 2 < prompt + budget <= 1536
        assert all(answer in row["input"] for answer in row["outputs"])


def test_more_samples_begin_with_fewer_and_other_lengths_change_nothing() -> None:
    cold = documents(["ruler_fwe"], [700, 512], samples=3, seed=1)
    assert documents(["ruler_fwe"], [512], samples=2, seed=1) == [row for row in cold if row["max_length"] == 512][:2]


def test_samples_come_from_the_disk_the_second_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    first = documents(["ruler_fwe"], [512], samples=3)
    assert documents(["ruler_fwe"], [512], samples=3, seed=2) != first
    (one, _) = sorted((tmp_path / "rope-scaling" / "ruler").iterdir())
    monkeypatch.setattr("rope_scaling.eval.tasks.ruler.task.samples", lambda *_: pytest.fail("made again"))
    assert documents(["ruler_fwe"], [512], samples=2) == first[:2]
    one.write_text("{ damaged")
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert documents(["ruler_fwe"], [512], samples=3) == first


def test_another_tokenizer_or_text_has_its_own_samples() -> None:
    keys = [
        cache.fingerprint(tokenizer(name), bos, text)
        for name, bos, text in [
            ("trained", None, None),
            ("trained", True, None),
            ("trained", None, MACBETH),
            ("characters", None, None),
        ]
    ]
    assert len(set(keys)) == 4
    assert keys[0] == cache.fingerprint(tokenizer("trained"), None, None)


def test_nothing_is_printed_and_the_callers_randomness_goes_on() -> None:
    random.seed(5)
    before, legacy = random.getstate(), np.random.get_state()  # noqa: NPY002  lm-eval draws from it
    printed = io.StringIO()
    with redirect_stdout(printed), redirect_stderr(printed):
        documents(["ruler_vt"], [1536], samples=1)
    assert printed.getvalue() == ""
    assert random.getstate() == before
    assert np.array_equal(np.random.get_state()[1], legacy[1])  # noqa: NPY002


@pytest.mark.usefixtures("_few_words")
def test_other_essays_change_the_name_of_the_task() -> None:
    (config,) = ruler_tasks(tokenizer(), ["niah_single_2"], [2048], 1, text=MACBETH)
    assert config["task"] == "niah_single_2_own_text"


@pytest.mark.parametrize(
    ("name", "length", "told"),
    [
        ("niah_multikey_1", 4096, "essays that lm-eval downloads: give text=FILE"),
        ("ruler_qa_squad", 4096, "reads a question set that lm-eval downloads"),
        ("niah_singel_1", 4096, "unknown RULER task 'niah_singel_1': did you mean 'niah_single_1'"),
        ("ruler_vt", 512, "ruler_vt does not fit 512 tokens: the smallest prompt takes about"),
        ("ruler_cwe", 512, "ruler_cwe does not fit 512 tokens"),
        ("ruler_fwe", 256, "ruler_fwe does not fit 256 tokens"),
    ],
)
def test_what_cannot_run_offline_or_does_not_fit_is_told(name: str, length: int, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        documents([name], [length])


def test_the_whole_of_ruler_says_what_it_leaves_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rope_scaling.eval.tasks.ruler.task.ruler_rows", lambda *_: [{"input": "x"}])
    with pytest.warns(UserWarning, match="of RULER's 13 tasks 7 need a download: ruler_qa_squad"):
        names = [config["task"] for config in ruler_tasks(tokenizer(), ["ruler"], [4096])]
    assert names == ["niah_single_1", "niah_multikey_2", "niah_multikey_3", "ruler_vt", "ruler_cwe", "ruler_fwe"]
    assert len(generate.NAMES) == 11


def test_the_score_is_rulers_share_of_answers_without_dummies() -> None:
    doc = {"outputs": ["Abc", "def", "ghi", "jkl"], "max_length": 512}
    assert process_results(doc, ["abc\x00DEF and more"]) == {"acc": 0.5, "512": 0.5}
