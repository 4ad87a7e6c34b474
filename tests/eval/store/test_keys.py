from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer, LlamaForCausalLM

from rope_scaling import patched
from rope_scaling.eval.store.keys import checkpoint_key, digest, identity, question_key, text_key, tokenizer_key
from rope_scaling.schemes import parse_scheme
from tests.eval.tiny import tiny_checkpoint, tiny_llama, tiny_text

PROMPT = "a b c"


def model_key(model: Any, scheme: str = "none", **options: Any) -> str:
    checkpoint = checkpoint_key(model)
    with patched(model, parse_scheme(scheme), **options):
        return digest(identity(model, checkpoint, "tokenizer"))


def test_every_scheme_and_option_has_a_key_of_its_own() -> None:
    schemes = [
        "none",
        "linear",
        "ntk",
        "ntk:factor=4",
        "yarn",
        "yarn:beta_fast=16",
        "dynamic-yarn",
        "dynamic-yarn:factor=8",
    ]
    keys = [model_key(tiny_llama(), scheme) for scheme in schemes]
    assert len(set(keys)) == len(schemes)
    assert keys == [model_key(tiny_llama(), scheme) for scheme in schemes]
    assert model_key(tiny_llama(), "ntk", original_max_length=16) not in keys


def test_a_patched_model_leaves_no_trace_in_the_key() -> None:
    model = tiny_llama()
    before = model_key(model)
    model_key(model, "yarn:factor=4")
    assert model_key(model) == before


@pytest.mark.filterwarnings("ignore:.*had been rounded by a cast")
def test_a_weight_a_dtype_or_an_attention_changes_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    def changed() -> dict[str, Any]:
        other = tiny_llama()
        with torch.no_grad():
            other.model.layers[1].mlp.up_proj.weight[0, 3] += 1
        eager = tiny_llama()
        eager.set_attn_implementation("eager")
        return {"weight": other, "dtype": tiny_llama().to(torch.bfloat16), "attention": eager, "none": tiny_llama()}

    keys = {name: model_key(model) for name, model in changed().items()}
    assert len(set(keys.values())) == 4
    assert keys["none"] == model_key(tiny_llama())
    monkeypatch.setattr("rope_scaling.eval.store.keys._version", lambda package: "0")
    assert model_key(tiny_llama()) != keys["none"]


def test_the_key_is_of_the_weights_and_not_of_the_folder(tmp_path: Path) -> None:
    first, second = (LlamaForCausalLM.from_pretrained(tiny_checkpoint(tmp_path / name)) for name in ("one", "two"))
    assert checkpoint_key(first) == checkpoint_key(second)


def test_weights_that_cannot_be_looked_at_are_known_by_their_files(tmp_path: Path) -> None:
    def offloaded(folder: str) -> Any:
        model = tiny_llama().to("meta")
        model.config.name_or_path = str(tmp_path / folder)
        return model

    for name in ("one", "two"):
        tiny_checkpoint(tmp_path / name)
    one, two = (checkpoint_key(offloaded(name)) for name in ("one", "two"))
    assert one == checkpoint_key(offloaded("one"))
    assert one != two


def test_a_question_is_its_prompt_its_choices_and_what_generation_is_told() -> None:
    asked = [
        ("generate_until", [(PROMPT, {"until": [], "max_gen_toks": 16})]),
        ("generate_until", [(PROMPT, {"until": ["."], "max_gen_toks": 16})]),
        ("generate_until", [(PROMPT, {"until": [], "max_gen_toks": 17})]),
        ("loglikelihood", [(PROMPT, " x"), (PROMPT, " y")]),
        ("loglikelihood", [(PROMPT, " y"), (PROMPT, " x")]),
        ("loglikelihood", [(PROMPT, " x")]),
        ("loglikelihood", [(PROMPT + " ", "x")]),
    ]
    assert len({question_key(kind, arguments) for kind, arguments in asked}) == len(asked)
    assert question_key(*asked[0]) == question_key("generate_until", [(PROMPT, {"max_gen_toks": 16, "until": []})])


def test_a_text_is_its_tokens_and_how_they_are_read() -> None:
    text, other = tiny_text(50), tiny_text(51)
    keys = {text_key(text, {}), text_key(other, {}), text_key(text, {"stride": 4}), text_key(text, {"stride": 8})}
    assert len(keys) == 4


def test_a_tokenizer_is_what_it_makes_of_texts(tmp_path: Path) -> None:
    plain, bos = (AutoTokenizer.from_pretrained(tiny_checkpoint(tmp_path / str(bos), bos=bos)) for bos in (False, True))
    assert tokenizer_key(plain) != tokenizer_key(bos)
    assert tokenizer_key(plain) == tokenizer_key(AutoTokenizer.from_pretrained(tmp_path / "False"))


def test_how_a_tokenizer_was_last_called_is_not_in_its_key(tmp_path: Path) -> None:
    one, other = (AutoTokenizer.from_pretrained(tiny_checkpoint(tmp_path)) for _ in range(2))
    one.pad_token = one.eos_token
    one(["a b", "c"], padding="longest", truncation=True, max_length=8)
    assert tokenizer_key(one) == tokenizer_key(other)
    before = tokenizer_key(other)
    other.add_tokens(["new"])
    assert tokenizer_key(other) != before
