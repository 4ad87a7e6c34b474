"""Models that are spread over devices, or whose weights are fetched from elsewhere as they are needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.hooks import AlignDevicesHook, add_hook_to_module
from transformers import PreTrainedModel

from rope_scaling import patch_model
from rope_scaling.eval.devices import input_device
from rope_scaling.eval.engine.reader import Reader
from rope_scaling.eval.engine.trunk import Trunk
from rope_scaling.eval.lm import RopeHFLM
from rope_scaling.eval.perplexity import token_nll
from tests.eval.engine.asking import keyed_pairs, prompted, rolled, scored
from tests.eval.tiny import tiny_checkpoint, tiny_llama, tiny_text
from tests.patches.test_loading_offloaded import OFFLOADS

PAIRS = keyed_pairs()


def asked(model: PreTrainedModel | str, tokenizer: Any, scheme: str, **options: Any) -> list[Any]:
    """Scores of choices, of a text of several windows, and what is generated."""
    return answers(RopeHFLM(model, scheme, tokenizer=tokenizer, batch_size=4, **options))


def answers(lm: RopeHFLM) -> list[Any]:
    assert lm.device == torch.device("cpu")
    assert lm.engine.abilities.sharing
    values = [value for value, _ in lm.loglikelihood(scored(PAIRS))]
    return [values, lm.loglikelihood_rolling(rolled("abc def" * 50)), lm.generate_until(prompted(PAIRS[:8]))]


@pytest.mark.parametrize(("scheme", "ways"), [("yarn", [*OFFLOADS]), ("dynamic-yarn", ["disk"])])
def test_an_offloaded_model_scores_what_it_scores_in_memory(
    scheme: str, ways: list[str], tokenizer: Any, tmp_path: Path
) -> None:
    values, rolling, texts = asked(tiny_llama(), tokenizer, scheme, factor=8)
    for number, how in enumerate(ways):
        model = OFFLOADS[how](tiny_llama(), tmp_path / str(number))
        assert any(weight.is_meta for weight in model.parameters()), "nothing was offloaded"
        own, own_rolling, own_texts = asked(model, tokenizer, scheme, factor=8)
        assert own == pytest.approx(values, rel=1e-6), how
        assert own_rolling == pytest.approx(rolling, rel=1e-6), how
        assert own_texts == texts, how


def test_a_model_patched_before_it_is_offloaded_scores_the_same(tokenizer: Any, tmp_path: Path) -> None:
    expected = asked(tiny_llama(), tokenizer, "yarn", factor=8)
    model = OFFLOADS["disk"](patch_model(tiny_llama(), "yarn", factor=8), tmp_path)
    assert asked(model, tokenizer, "none", max_length=256) == expected


@pytest.mark.parametrize("options", [{"device_map": "auto"}, {"parallelize": True}], ids=str)
def test_a_checkpoint_larger_than_memory_overflows_to_the_disk(
    options: dict[str, Any], tokenizer: Any, tmp_path: Path
) -> None:
    expected = asked(tiny_llama(), tokenizer, "yarn", factor=8)
    small = {"max_cpu_memory": "120KB", "offload_folder": str(tmp_path / "disk"), **options}
    lm = RopeHFLM(str(tiny_checkpoint(tmp_path / "tiny")), "yarn", factor=8, batch_size=4, **small)
    assert {*lm.model.hf_device_map.values()} == {"cpu", "disk"}
    assert answers(lm) == expected


def test_a_checkpoint_that_fits_into_memory_stays_there(tokenizer: Any, tmp_path: Path) -> None:
    lm = RopeHFLM(str(tiny_checkpoint(tmp_path)), device_map="auto", offload_folder=str(tmp_path / "disk"))
    assert not any(weight.is_meta for weight in lm.model.parameters())


def test_the_perplexity_of_an_offloaded_model_is_that_in_memory(tmp_path: Path) -> None:
    expected = token_nll(tiny_llama(), tiny_text(), chunk=16)
    for number, offload in enumerate(OFFLOADS.values()):
        model = offload(tiny_llama(), tmp_path / str(number))
        assert torch.allclose(token_nll(model, tiny_text(), chunk=16), expected, rtol=1e-6)


def test_a_model_without_weights_is_refused() -> None:
    with torch.device("meta"):
        empty = tiny_llama()
    with pytest.raises(ValueError, match="on the meta device and nothing fetches them: load them"):
        input_device(empty)


def on_two_devices() -> PreTrainedModel:
    """A patched model whose second layer is on another device, one that computes shapes but no numbers."""
    model = patch_model(tiny_llama(), "yarn", factor=8)
    for name in ("model.layers.1", "model.norm", "lm_head"):
        add_hook_to_module(model.get_submodule(name).to("meta"), AlignDevicesHook(torch.device("meta")))
    return model


def test_caches_are_cropped_extended_and_repeated_on_the_device_of_each_layer() -> None:
    model = on_two_devices()
    reader = Reader(model, input_device(model), chunk=16)
    trunk = Trunk(reader)
    for prefix in ([*range(40)], [*range(30), 7, 7], [*range(50)]):
        trunk.move_to(prefix, room=64)
        for texts in (1, 3):
            with trunk.branch(texts) as cache:
                logits, after = reader.read(reader.tensor([[1, 2, 3]] * texts), cache, 2, room=len(prefix) + 3)
                assert (logits.shape, logits.device.type) == ((texts, 2, 300), "meta")
                assert [layer.keys.device.type for layer in after.layers] == ["cpu", "meta"]
                assert [layer.values.shape[-2] for layer in after.layers] == [len(prefix) + 3] * 2
            assert [layer.keys.shape for layer in trunk.cache.layers] == [(1, 2, len(prefix), 8)] * 2
