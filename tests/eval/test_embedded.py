"""What the embedded checkpoint does past its trained length: behaviour, where the other tests check shapes and values.

The bounds are not fitted to the last digit: they stand far from what a wrong sign, a stale cache or unscaled
frequencies give, and a few times the sampling error from what was measured (docs/tiny.md).
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from rope_scaling import patch_model, patched
from rope_scaling.eval.bins import perplexity
from rope_scaling.eval.embedded import EMBEDDED
from rope_scaling.eval.perplexity import token_nll
from rope_scaling.eval.tasks.passkey.prompt import passkey_document
from rope_scaling.eval.texts import MACBETH
from rope_scaling.schemes import NTK, Scheme, YaRN

L = 512
FOLDER = EMBEDDED["tiny-llama-512"]


@pytest.fixture(scope="module")
def model() -> Any:
    return AutoModelForCausalLM.from_pretrained(FOLDER).eval()


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(FOLDER)


@pytest.fixture(scope="module")
def texts(tokenizer: Any) -> Tensor:
    """Six stretches of the play, (6, 1024), each after BOS."""
    ids = tokenizer(EMBEDDED["macbeth"].read_text(encoding="utf-8"), add_special_tokens=False, verbose=False)
    body = torch.tensor(ids["input_ids"][: 6 * 1023]).view(6, 1023)
    return torch.cat([torch.full((6, 1), tokenizer.bos_token_id), body], dim=1)


@torch.no_grad()
def keys_found(model: Any, tokenizer: Any, length: int, **options: Any) -> int:
    """Of 10 passkeys, at two depths each of five keys, those answered greedily with a KV cache."""
    found = 0
    for depth in (0.2, 0.7):
        documents = [
            passkey_document(lambda text: len(tokenizer(text)["input_ids"]), length, depth, index, seed=7)
            for index in range(5)
        ]
        prompts = tokenizer([one["input"] for one in documents], return_tensors="pt", padding=True, padding_side="left")
        out = model.generate(**prompts, max_new_tokens=7, do_sample=False, **options)
        answers = tokenizer.batch_decode(out[:, prompts["input_ids"].shape[1] :])
        found += sum(one["answer"] in answer for one, answer in zip(documents, answers, strict=True))
    return found


def test_it_is_what_its_card_says(model: Any, tokenizer: Any) -> None:
    config = model.config
    assert (config.model_type, config.head_dim, config.max_position_embeddings) == ("llama", 64, L)
    assert config.rope_parameters["rope_theta"] == 10000.0
    assert model.dtype == torch.float32
    assert model.num_parameters() < 4e6
    assert len(tokenizer) == config.vocab_size <= 4096
    assert (FOLDER / "model.safetensors").stat().st_size < 8e6
    assert tokenizer("To be")["input_ids"][0] == tokenizer.bos_token_id
    assert tokenizer.decode(tokenizer("It is 1066,  or so.\n", add_special_tokens=False)["input_ids"]) == (
        "It is 1066,  or so.\n"
    )


def test_the_text_beside_it_is_the_one_that_can_be_built_again() -> None:
    assert hashlib.sha256(EMBEDDED["macbeth"].read_bytes()).hexdigest() == MACBETH.sha256


def test_within_its_length_it_reads_and_finds(model: Any, tokenizer: Any, texts: Tensor) -> None:
    nll = token_nll(model, texts[:, :L])
    assert 40 < perplexity(nll) < 90
    assert perplexity(nll, 256) < 1.1 * perplexity(nll, 0, 256)
    assert keys_found(model, tokenizer, 300) + keys_found(model, tokenizer, L) >= 19


def test_past_its_length_it_breaks(model: Any, tokenizer: Any, texts: Tensor) -> None:
    nll = token_nll(model, texts)
    assert perplexity(nll, 768) > 1.5 * perplexity(nll, 0, L)
    assert keys_found(model, tokenizer, 1024) <= 2


@pytest.mark.parametrize("scheme", [NTK(factor=4), YaRN(factor=4), YaRN(factor=2)])
def test_scaled_it_reads_and_finds_at_twice_its_length(
    scheme: Scheme, model: Any, tokenizer: Any, texts: Tensor
) -> None:
    plain = perplexity(token_nll(model, texts[:, :L]))
    with patched(model, scheme):
        nll = token_nll(model, texts)
        assert 0.9 * plain < perplexity(nll, 0, L) < 1.15 * plain
        assert perplexity(nll, L) < 1.15 * plain
        assert keys_found(model, tokenizer, 1024) >= 8
    assert perplexity(token_nll(model, texts[:, :L])) == plain


def test_linear_interpolation_ruins_it_as_it_does_untrained_models(model: Any, tokenizer: Any, texts: Tensor) -> None:
    plain = perplexity(token_nll(model, texts[:, :L]))
    with patched(model, "linear", factor=4):
        assert perplexity(token_nll(model, texts[:, :L])) > 1.5 * plain
        assert keys_found(model, tokenizer, L) <= 2


def test_frequencies_turned_the_wrong_way_cannot_pass(model: Any, texts: Tensor) -> None:
    """What the bounds above would say of a sign error: shown, so that they are known to bite."""
    plain = perplexity(token_nll(model, texts[:, :L]))
    with patched(model, "yarn", factor=4):
        rotary = model.model.rotary_emb
        rotary.inv_freq.neg_()
        try:
            assert perplexity(token_nll(model, texts)) > 1.5 * plain
        finally:
            rotary.inv_freq.neg_()


def test_a_cache_from_before_the_patch_cannot_pass(model: Any, texts: Tensor) -> None:
    """Keys turned by the unscaled frequencies, queries by the scaled: ruin, and refused by the patched model."""
    plain = token_nll(model, texts[:, : L + 128], first=L)
    with torch.no_grad():
        cache = model(texts[:, :L], use_cache=True).past_key_values
    with patched(model, "linear", factor=4), pytest.raises(ValueError, match="cache"):
        model(texts[:, L : L + 128], past_key_values=cache)
    assert torch.equal(token_nll(model, texts[:, : L + 128], first=L), plain)


def test_saved_and_loaded_without_this_package_it_still_finds(tokenizer: Any, tmp_path: Path) -> None:
    model = patch_model(AutoModelForCausalLM.from_pretrained(FOLDER), "yarn", factor=4)
    model.save_pretrained(tmp_path)
    plain = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    assert json.loads((tmp_path / "config.json").read_text())["max_position_embeddings"] == 4 * L
    assert keys_found(plain, tokenizer, 1024) >= 8
