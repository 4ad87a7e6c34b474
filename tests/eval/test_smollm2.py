"""The one checkpoint that is not random: SmolLM2-135M-Instruct on the beginning of Paradise Lost."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from rope_scaling.eval.bins import perplexity
from rope_scaling.eval.compare import Plan, Row, run
from rope_scaling.eval.fetch import fetch
from rope_scaling.eval.run import load
from rope_scaling.patches import patched

pytestmark = pytest.mark.slow
LENGTH = 1024


@pytest.fixture(scope="module")
def smollm2() -> tuple[Any, Any]:
    return load(str(fetch("smollm2")), "float32", "cpu")


@pytest.fixture(scope="module")
def rows(smollm2: tuple[Any, Any]) -> dict[str, Row]:
    model, tokenizer = smollm2
    text = Path(fetch("paradise-lost")).read_text(encoding="utf-8")
    input_ids = torch.tensor(tokenizer(text[: LENGTH * 8])["input_ids"][:LENGTH])
    plan = Plan(("none", "linear:factor=2", "ntk:factor=2", "yarn:factor=2"), window=False)
    return {row.name: row for row in run(model, input_ids, plan)}


def test_the_folder_loads_as_any_checkpoint_does(smollm2: tuple[Any, Any]) -> None:
    model, tokenizer = smollm2
    assert model.config.max_position_embeddings == 8192
    assert model.dtype == torch.float32
    assert not hasattr(model.config, "quantization_config")
    assert (tokenizer.bos_token, tokenizer.eos_token) == ("<|im_start|>", "<|im_end|>")
    assert (model.config.bos_token_id, model.config.eos_token_id) == (1, 2)
    assert tokenizer.decode(tokenizer("Of Mans First  Disobedience\n")["input_ids"]) == "Of Mans First  Disobedience\n"


def test_perplexity_is_that_of_a_sane_model(rows: dict[str, Row]) -> None:
    assert perplexity(rows["none"].nll) == pytest.approx(65.2, rel=0.03)  # measured: float32, this text


def test_linear_ruins_short_texts_and_ntk_and_yarn_do_not(rows: dict[str, Row]) -> None:
    tax = {name: row.tax for name, row in rows.items()}
    assert tax["linear:factor=2"] > 0.5
    assert abs(tax["ntk:factor=2"]) < 0.1
    assert abs(tax["yarn:factor=2"]) < 0.1


@pytest.mark.parametrize("scheme", ["ntk", "yarn", "ntk-by-parts"])
def test_an_extended_checkpoint_loads_in_plain_transformers_with_the_same_logits(
    smollm2: tuple[Any, Any], scheme: str, tmp_path: Path
) -> None:
    model, tokenizer = smollm2
    ids = tokenizer("Of Mans First Disobedience, and the Fruit", return_tensors="pt").input_ids
    far = torch.arange(12_000, 12_000 + ids.shape[1])[None]  # past the trained length
    with torch.no_grad(), patched(model, scheme, factor=2):
        near_logits, far_logits = model(ids).logits, model(ids, position_ids=far).logits
        model.save_pretrained(tmp_path)
    plain = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert plain.config.max_position_embeddings == 16384
    with torch.no_grad():
        assert torch.equal(plain(ids).logits, near_logits)
        assert torch.equal(plain(ids, position_ids=far).logits, far_logits)
