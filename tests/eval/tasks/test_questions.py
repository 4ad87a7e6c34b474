"""Each question is solved from its prompt alone, by a reader that knows nothing of how it was made."""

from __future__ import annotations

import ast
import json
import re
from collections import Counter
from typing import Any

import pytest

from rope_scaling.eval.tasks.code.library import functions
from rope_scaling.eval.tasks.code.task import recall_code
from rope_scaling.eval.tasks.common.generated import Generated
from rope_scaling.eval.tasks.cwe.task import cwe
from rope_scaling.eval.tasks.fwe.task import fwe
from rope_scaling.eval.tasks.kv.task import kv
from rope_scaling.eval.tasks.niah import task as niah
from rope_scaling.eval.tasks.vt.task import vt
from tests.eval.tasks.tokenizers import tokenizer


def asked(task: Generated, length: int = 1400, samples: int = 2, **options: Any) -> Any:
    made = task(lengths=[length], depths=[0.3], samples=samples, tokenizer=tokenizer(), **options)
    return made["test"].to_list()


def told(prompt: str) -> list[tuple[str, str]]:
    return re.findall(r"One of the special magic \w+s for ([\w-]+) is: ([\w-]+)\.", prompt)


@pytest.mark.parametrize(
    ("task", "needles", "answers"),
    [
        (niah.single, 1, 1),
        (niah.single_word, 1, 1),
        (niah.single_uuid, 1, 1),
        (niah.multikey, 4, 1),
        (niah.multivalue, 4, 4),
        (niah.multiquery, 4, 4),
    ],
)
def test_needles_answer_the_question(task: Generated, needles: int, answers: int) -> None:
    for row in asked(task):
        found = told(row["input"])
        assert len(found) == len(set(found)) == needles
        question = row["input"].splitlines()[-1]
        right = [value for key, value in found if key in question]
        assert sorted(right) == sorted(row["answers"])
        assert len(right) == answers
        assert not any(value in question for value in right)


@pytest.mark.parametrize("task", [niah.multikey, niah.multikey_needles, niah.multikey_uuid])
def test_wrong_choices_stand_under_other_keys(task: Generated) -> None:
    for row in asked(task):
        values = {value for _, value in told(row["input"])}
        assert set(row["choices"]) <= values
        key = next(key for key, value in told(row["input"]) if value == row["answer"])
        assert key in row["input"].splitlines()[-1]


def test_a_haystack_too_short_for_other_needles_is_refused() -> None:
    with pytest.raises(ValueError, match="rope_niah_multikey_uuid: a length of 400 is too short, ask for at least"):
        asked(niah.multikey_uuid, 400)


def test_several_queries_are_told_apart_by_their_order() -> None:
    for row in asked(niah.multiquery):
        values = dict(told(row["input"]))
        named = re.findall(r"[a-z]+-[a-z]+", row["input"].splitlines()[-1])[:4]
        assert row["answer"] == ", ".join(values[key] for key in named)
        assert all(sorted(choice.split(", ")) == sorted(values.values()) for choice in row["choices"])


@pytest.mark.parametrize("options", [{}, {"chains": 1, "hops": 2}, {"chains": 3, "hops": 3}])
def test_following_the_assignments_answers_the_question(options: dict[str, int]) -> None:
    for row in asked(vt, **options):
        holds: dict[str, str] = {}
        for name, source in re.findall(r"VAR (\w+) = (?:VAR )?(\w+)\.", row["input"]):
            holds[name] = holds.get(source, source)  # in the order of the text
        value = re.findall(r"assigned the value (\d{5})", row["input"])[0]
        assert [name for name, held in holds.items() if held == value] == row["answers"]
        assert len(set(holds.values())) == options.get("chains", 2)
        assert len(row["answers"]) == options.get("hops", 4) + 1


def test_counting_the_list_answers_the_question() -> None:
    for row, common in [*((row, 10) for row in asked(cwe)), *((row, 3) for row in asked(cwe, 700, common=3))]:
        entries = re.findall(r"(\d+)\. (\w+)", row["input"])
        assert [int(number) for number, _ in entries] == list(range(1, len(entries) + 1))
        counts = Counter(word for _, word in entries)
        assert {word for word, _ in counts.most_common(common)} == set(row["answers"])
        assert sorted(counts.values())[-common:] == [10] * common
        assert max(sorted(counts.values())[:-common]) == 1


def test_long_lists_repeat_uncommon_words_too() -> None:
    (row,) = asked(cwe, 4096, samples=1)
    counts = Counter(word for _, word in re.findall(r"(\d+)\. (\w+)", row["input"]))
    assert {word for word, times in counts.items() if times == 30} == set(row["answers"])
    assert set(counts.values()) - {30, 3} <= {1, 2}  # the last word may come fewer times


def test_counting_the_coded_words_answers_the_question() -> None:
    for row in [*asked(fwe), *asked(fwe, 700)]:
        text = row["input"].splitlines()[1]
        counts = Counter(word for word in text.split() if re.fullmatch(r"[a-z]{6}", word)).most_common(4)
        assert [word for word, _ in counts[:3]] == row["answers"]
        times = [count for _, count in counts]
        assert times == sorted(set(times), reverse=True)
        assert text.split().count("...") > times[0]


def test_reading_the_object_answers_the_question() -> None:
    for row in asked(kv):
        body = row["input"][row["input"].index("{") : row["input"].rindex("}") + 1]
        key = re.findall(r'Key: "([\w-]+)"', row["input"])[0]
        pairs = json.loads(body)
        assert pairs[key] == row["answer"]
        assert set(row["choices"]) <= set(pairs.values())


def test_reading_the_code_answers_the_question() -> None:
    for row in asked(recall_code):
        shown, question = row["input"].rsplit("# The function ", 1)
        cue = question.splitlines()[1]
        assert shown.count(f"\n{cue}\n") == 1
        assert shown.split(f"\n{cue}\n")[1].splitlines()[0] == row["answer"]
        assert all(choice in shown for choice in row["choices"])


def test_functions_of_the_library_are_whole_and_each_of_its_own_name() -> None:
    found = functions()
    assert len({one.name for one in found}) == len(found) >= 100
    for one in found[::25]:
        (node,) = ast.parse(one.source).body
        assert isinstance(node, ast.FunctionDef)
        assert node.name == one.name
        assert ast.get_docstring(node) is None
