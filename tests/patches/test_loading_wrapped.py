"""Models inside PEFT, pipelines and other wrappers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast, pipeline

from rope_scaling import describe, patch_model, patched, unpatch_model
from tests.models import TRAINED, logits, tiny_model, tokens
from tests.patches.state import assert_same, everything
from tests.patches.twins import FACTOR, IDS, patched_yarn, twin_of_patched


def with_adapter(model: PreTrainedModel) -> PeftModel:
    """The same adapter whatever the model, with an effect."""
    torch.manual_seed(3)
    config = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False, task_type="CAUSAL_LM")
    return get_peft_model(model, config).eval()


def test_a_peft_model_is_its_native_twin_before_and_after_merging() -> None:
    model, twin = patched_yarn(with_adapter(tiny_model())), with_adapter(twin_of_patched())
    assert torch.equal(logits(model, IDS), logits(twin, IDS))
    assert not torch.equal(logits(model, IDS), logits(twin_of_patched(), IDS)), "the adapter does nothing"
    merged = model.merge_and_unload()
    assert torch.equal(logits(merged, IDS), logits(twin.merge_and_unload(), IDS))
    assert describe(merged).factor == FACTOR


def test_a_patched_model_can_be_given_an_adapter() -> None:
    model, twin = with_adapter(patched_yarn()), with_adapter(twin_of_patched())
    assert torch.equal(logits(model, IDS), logits(twin, IDS))
    assert torch.equal(logits(model.unload(), IDS), logits(twin_of_patched(), IDS))


@pytest.mark.parametrize("merge", ["merge_and_unload", "unload"])
def test_a_patch_under_an_adapter_can_be_undone_after_it_is_gone(merge: str) -> None:
    model = getattr(patched_yarn(with_adapter(tiny_model())), merge)()
    plain = getattr(with_adapter(tiny_model()), merge)()
    assert torch.equal(logits(unpatch_model(model), IDS), logits(plain, IDS))


def test_undoing_through_an_adapter_restores_everything() -> None:
    inner = tiny_model()
    inner.generation_config.max_length = TRAINED
    model = with_adapter(inner)
    before = everything(inner)
    assert unpatch_model(patched_yarn(model)) is model
    assert_same(everything(inner), before)


def test_a_saved_adapter_works_on_a_patched_model(tmp_path: Path) -> None:
    model = with_adapter(patched_yarn())
    model.save_pretrained(tmp_path)
    loaded = PeftModel.from_pretrained(patched_yarn(), tmp_path).eval()
    assert torch.equal(logits(loaded, IDS), logits(model, IDS))


def test_merging_and_saving_gives_a_checkpoint_that_needs_no_plugin(tmp_path: Path) -> None:
    merged = patched_yarn(with_adapter(tiny_model())).merge_and_unload()
    merged.save_pretrained(tmp_path)
    assert torch.equal(logits(AutoModelForCausalLM.from_pretrained(tmp_path), IDS), logits(merged, IDS))


class Wrapper(nn.Module):
    """Something that holds a model and passes no attribute on, as DDP does."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module


def test_the_generation_length_follows_through_a_wrapper() -> None:
    model = tiny_model()
    model.generation_config.max_length = TRAINED
    wrapper = patch_model(Wrapper(model), "yarn", factor=FACTOR)
    assert model.generation_config.max_length == int(FACTOR * TRAINED)
    with patched(wrapper, "ntk", factor=2):
        assert model.generation_config.max_length == 2 * TRAINED
    assert model.generation_config.max_length == int(FACTOR * TRAINED)
    unpatch_model(wrapper)
    assert model.generation_config.max_length == TRAINED


def test_a_generation_length_set_since_is_left_alone() -> None:
    model = tiny_model()
    model.generation_config.max_length = TRAINED
    patched_yarn(model).generation_config.max_length = 100
    assert unpatch_model(model).generation_config.max_length == 100


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """A word for each token id of the tiny models: `w3` is 3."""
    words = {"<pad>": 0, "<s>": 1, "</s>": 2} | {f"w{number}": number for number in range(3, 97)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>")


@pytest.mark.parametrize("patch_first", [True, False])
def test_a_model_in_a_pipeline_writes_what_its_native_twin_writes(patch_first: bool) -> None:
    text = " ".join(f"w{number}" for number in tokens(TRAINED + 40)[0].tolist())

    def written(model: PreTrainedModel, patch_inside: bool = False) -> str:
        pipe = pipeline("text-generation", model=model, tokenizer=tiny_tokenizer())
        if patch_inside:
            patched_yarn(pipe.model)
        told: str = pipe(text, max_new_tokens=12, do_sample=False)[0]["generated_text"]
        return told

    ours = written(patched_yarn()) if patch_first else written(tiny_model(), patch_inside=True)
    assert ours == written(twin_of_patched())
    assert ours != written(tiny_model())
