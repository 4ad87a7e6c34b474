from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lm_eval.tasks._yaml_loader import load_yaml
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from rope_scaling.eval.harness import TASKS
from rope_scaling.eval.lm import RopeHFLM
from rope_scaling.eval.tasks.passkey import prompt
from rope_scaling.eval.tasks.passkey.prompt import ANSWER_TOKENS, passkey_document
from rope_scaling.eval.tasks.passkey.task import dataset, passkey_dataset, process_results
from tests.eval.tiny import tiny_checkpoint


def byte_pairs(*, bos: bool) -> PreTrainedTokenizerBase:
    """Bytes merged on the task's own sentences, digits apart: what real vocabularies do with this text."""
    made = Tokenizer(models.BPE())
    digits = pre_tokenizers.Digits(individual_digits=True)
    made.pre_tokenizer = pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=600, special_tokens=["<s>", "</s>"], initial_alphabet=alphabet)
    made.train_from_iterator([prompt.DESCRIPTION, prompt.QUESTION, " ".join(prompt.FILLER)] * 10, trainer)
    if bos:
        made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>", eos_token="</s>")


@pytest.fixture(scope="module", params=["characters", "byte pairs", "byte pairs after <s>"])
def tokenizer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    if request.param == "characters":
        return AutoTokenizer.from_pretrained(tiny_checkpoint(tmp_path_factory.mktemp("characters")))
    return byte_pairs(bos="<s>" in request.param)


def rows(tokenizer: Any, lengths: Any = (512,), depths: Any = (0.5,), samples: int = 1, seed: int = 0) -> Any:
    return passkey_dataset(tokenizer, lengths, depths, samples, seed)["test"].to_list()


def test_prompt_and_answer_fill_each_length_to_the_token(tokenizer: PreTrainedTokenizerBase) -> None:
    for row in rows(tokenizer, [*range(400, 430), 1000, 1024], [0, 0.3, 1]):
        assert len(tokenizer(row["input"]).input_ids) == row["prompt_tokens"] == row["length"] - ANSWER_TOKENS


def test_the_answer_fits_its_room(tokenizer: PreTrainedTokenizerBase) -> None:
    for row in rows(tokenizer, samples=5):
        answered = len(tokenizer(f"{row['input']} {row['answer']}").input_ids)
        assert row["prompt_tokens"] < answered <= row["length"]


@pytest.mark.parametrize("bos", [False, True])
@pytest.mark.parametrize("add_bos_token", [None, False])
def test_prompts_are_as_long_for_the_harness_as_for_the_task(
    tmp_path: Path, bos: bool, add_bos_token: bool | None
) -> None:
    checkpoint = str(tiny_checkpoint(tmp_path, bos=bos))
    lm = RopeHFLM(checkpoint, "ntk", factor=16, add_bos_token=add_bos_token)
    row = dataset([400], [0.5], 1, pretrained=checkpoint, add_bos_token=add_bos_token)["test"][0]
    assert lm.tok_batch_encode([row["input"]])[0].shape[1] == 400 - ANSWER_TOKENS
    assert len(lm.tok_encode(row["input"])) == 400 - ANSWER_TOKENS


def test_every_run_asks_the_same_questions(tokenizer: PreTrainedTokenizerBase) -> None:
    assert rows(tokenizer, samples=3) == rows(tokenizer, samples=3)
    # Python's generator, seeded by this text: a golden value, made by this code
    assert rows(tokenizer, [512], [0])[0]["answer"] == "76604"


def test_a_question_does_not_depend_on_what_else_is_asked(tokenizer: PreTrainedTokenizerBase) -> None:
    (alone,) = rows(tokenizer, [512], [0.5])
    assert alone in rows(tokenizer, [400, 512], [0, 0.5, 1], samples=3)


@pytest.mark.parametrize("other", [(513, 0.5, 0, 0), (512, 0.25, 0, 0), (512, 0.5, 1, 0), (512, 0.5, 0, 1)])
def test_the_key_depends_on_length_depth_index_and_seed(other: tuple[int, float, int, int]) -> None:
    assert passkey_document(len, *other)["answer"] != passkey_document(len, 512, 0.5, 0, 0)["answer"]


def test_depth_places_the_needle(tokenizer: PreTrainedTokenizerBase) -> None:
    depths = [0, 0.25, 0.5, 0.75, 1]
    first, *inner, last = rows(tokenizer, [2048], depths)
    assert first["input"].startswith(f"{prompt.DESCRIPTION}\nThe pass key is {first['answer']}.")
    assert last["input"].endswith(f"{last['answer']} is the pass key.\n{prompt.QUESTION}")
    room = last["needle_position"] - first["needle_position"]
    for row in inner:
        share = (row["needle_position"] - first["needle_position"]) / room
        assert share == pytest.approx(row["depth"], abs=0.02)  # a sentence of 2048 tokens


def test_limit_takes_as_many_of_each_length(tokenizer: PreTrainedTokenizerBase) -> None:
    asked = rows(tokenizer, [400, 512], [0, 1], samples=2)
    assert [row["length"] for row in asked] == [400, 512] * 4
    assert [row["index"] for row in asked] == [0] * 4 + [1] * 4


def test_a_tokenizer_that_cannot_be_exact_gets_the_longest_prompt_below() -> None:
    document = passkey_document(lambda text: 2 * len(text), 1001, 0.5, 0, 0)
    assert document["prompt_tokens"] == 1001 - ANSWER_TOKENS - 1


@pytest.mark.parametrize(
    ("answer", "score"),
    [(" 12345.", 1.0), ("the key\n12345", 1.0), (" 123456", 0.0), (" 91234 5", 0.0), ("", 0.0)],
)
def test_the_key_must_stand_as_a_number_of_its_own(answer: str, score: float) -> None:
    assert process_results({"answer": "12345", "length": 512}, [answer]) == {"acc": score, "512": score}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"length": [512]}, "unknown metadata 'length' for rope_passkey: did you mean 'lengths'"),
        ({}, "pass --model_args pretrained=CHECKPOINT"),
        ({"lengths": 512}, r"lengths must be a list of token counts such as \[1024, 2048\], got 512"),
        ({"lengths": [100]}, "too short: question and answer alone take"),
        ({"depths": [50]}, r"depths must be a list of numbers from 0 to 1, got \[50\]"),
        ({"samples": 0}, "samples, .*, must be at least 1, got 0"),
        ({"seed": "a"}, "seed must be an integer, got 'a'"),
    ],
)
def test_wrong_parameters_are_told(tmp_path: Path, options: dict[str, Any], told: str) -> None:
    model = {"pretrained": str(tiny_checkpoint(tmp_path))} if options else {}
    with pytest.raises(ValueError, match=told):
        dataset(**options, **model)


def test_an_empty_tokenizer_is_told() -> None:
    with pytest.raises(ValueError, match="this tokenizer makes 0 tokens of 50 sentences"):
        passkey_document(lambda _: 0, 512, 0.5, 0, 0)


def test_the_yaml_leaves_the_answer_the_room_that_prompts_leave() -> None:
    config = load_yaml(TASKS / "passkey" / "rope_passkey.yaml")
    assert config["generation_kwargs"]["max_gen_toks"] == ANSWER_TOKENS
    assert config["custom_dataset"] is dataset
