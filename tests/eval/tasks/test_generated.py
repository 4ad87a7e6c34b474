"""What holds for every generated task, whatever it asks."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from lm_eval.tasks._yaml_loader import load_yaml

from rope_scaling.eval.tasks.common.cell import Cell
from rope_scaling.eval.tasks.common.generated import CHOICES, Generated
from rope_scaling.eval.tasks.configs import FOLDER
from tests.eval.tasks.tokenizers import NAMES, tokenizer

YAMLS = {path.stem: path for path in sorted(FOLDER.glob("*/rope_*.yaml"))}
TASKS: dict[str, Generated] = {
    name: load_yaml(path)["custom_dataset"]
    for name, path in YAMLS.items()
    if isinstance(load_yaml(path)["custom_dataset"], Generated) and not name.endswith("_mc")
}
LENGTH = 1400  # tokens: enough for each
CHARACTERS = 2600  # tokens: enough where a character is a token


def rows(task: Generated, lengths: Any = (LENGTH,), depths: Any = (0.5,), samples: int = 1, **rest: Any) -> Any:
    rest = {"tokenizer": tokenizer("trained"), **rest}
    return task(lengths=lengths, depths=depths, samples=samples, **rest)["test"].to_list()


def test_all_of_them_are_here() -> None:
    niah = ["single", "single_text", "single_word", "single_uuid", "multikey", "multikey_needles", "multikey_uuid"]
    niah += ["multivalue", "multiquery"]
    others = ["rope_vt", "rope_cwe", "rope_fwe", "rope_kv", "rope_recall_code"]
    assert set(TASKS) == {*(f"rope_niah_{shape}" for shape in niah), *others}


@pytest.mark.parametrize("vocabulary", NAMES)
@pytest.mark.parametrize("name", TASKS)
def test_prompt_and_room_fill_the_length_to_the_token_and_the_answer_fits(name: str, vocabulary: str) -> None:
    task = TASKS[name]
    common = {"common": 3} if vocabulary == "characters" else {}
    length = CHARACTERS if vocabulary == "characters" else LENGTH
    lengths = [length, length + 1]
    for row in rows(task, lengths, tokenizer=tokenizer(vocabulary), **common):
        tokens = len(tokenizer(vocabulary)(row["input"]).input_ids)
        assert tokens == row["prompt_tokens"] == row["length"] - task.room
        delimiter = load_yaml(YAMLS[name])["target_delimiter"]
        answered = len(tokenizer(vocabulary)(row["input"] + delimiter + row["answer"]).input_ids)
        assert tokens < answered <= row["length"]


@pytest.mark.parametrize("name", TASKS)
def test_every_run_asks_the_same_and_a_cell_does_not_depend_on_others(name: str) -> None:
    (alone,) = rows(TASKS[name])
    assert alone == rows(TASKS[name])[0]
    several = rows(TASKS[name], [LENGTH + 50, LENGTH], [0.5, 1.0], samples=2)
    assert alone in several
    prompts = [row["input"] for row in several]
    assert len(set(prompts)) == len(prompts)
    assert alone["input"] not in [row["input"] for row in rows(TASKS[name], seed=1)]


@pytest.mark.parametrize("name", TASKS)
def test_both_ways_of_asking_share_their_prompts_and_their_room(name: str) -> None:
    generation, choice = load_yaml(YAMLS[name]), load_yaml(YAMLS[f"{name}_mc"])
    assert generation["custom_dataset"] is choice["custom_dataset"] is TASKS[name]
    assert generation["generation_kwargs"]["max_gen_toks"] == TASKS[name].room
    assert generation["target_delimiter"] == choice["target_delimiter"] == TASKS[name].delimiter
    assert (generation["task"], choice["task"], TASKS[name].name) == (name, f"{name}_mc", name)


@pytest.mark.parametrize("name", TASKS)
def test_one_of_four_different_choices_is_right_and_stands_anywhere(name: str) -> None:
    asked = rows(TASKS[name], samples=4)
    for row in asked:
        assert len(set(row["choices"])) == CHOICES
        assert row["choices"][row["gold"]] == row["answer"]
    assert len({row["gold"] for row in asked}) > 1


@pytest.mark.parametrize("name", [name for name, task in TASKS.items() if task.depths])
def test_depth_moves_what_is_asked_for_from_the_beginning_to_the_end(name: str) -> None:
    first, middle, last = (row["needle_positions"][0] for row in rows(TASKS[name], depths=[0, 0.5, 1]))
    assert first < 160  # tokens of instructions, and of what closes the gap
    assert middle == pytest.approx((first + last) / 2, abs=250)  # a function of code
    assert last > LENGTH - 500  # a function of code, the question and the room


def test_limit_takes_as_many_of_each_length() -> None:
    asked = rows(TASKS["rope_niah_single"], [400, 512], [0, 1], samples=2)
    assert [row["length"] for row in asked] == [400, 512] * 4
    assert [row["index"] for row in asked] == [0] * 4 + [1] * 4


def test_a_cells_purposes_draw_apart_and_its_depth_may_be_an_integer() -> None:
    cell = Cell("task", 512, 1, 0, 0)
    assert cell.rng().random() == Cell("task", 512, 1.0, 0, 0).rng().random()
    assert cell.rng().random() != cell.rng("other").random()


def test_tasks_can_be_sent_to_other_processes() -> None:
    for task in TASKS.values():
        assert pickle.loads(pickle.dumps(task)).room == task.room


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"length": [512]}, "unknown metadata 'length' for rope_niah_single: did you mean 'lengths'"),
        ({"tokenizer": None}, "rope_niah_single measures its prompts with the model's tokenizer"),
        ({"lengths": [512, 512]}, "each length once"),
        ({"lengths": [60]}, "rope_niah_single: a prompt of 60 tokens is too short"),
        ({"depths": [50]}, "depths must be a list of numbers from 0 to 1"),
        ({"depths": [0.5, 0.5]}, "depths must name each depth once"),
        ({"depths": [0, -0.0]}, "depths must name each depth once"),
        ({"samples": 0}, "samples, .*, must be at least 1"),
        ({"haystack": "hay"}, "haystack must be one of noise, text, needles, got 'hay'"),
        ({"needle": "pin"}, "needle must be one of number, word, uuid, got 'pin'"),
        ({"needle": "uuid"}, "takes 3. tokens of this tokenizer, rope_niah_single leaves 16"),
    ],
)
def test_wrong_parameters_are_told(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        TASKS["rope_niah_single"](**{"lengths": [512], "tokenizer": tokenizer("trained"), **options})
