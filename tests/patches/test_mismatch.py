"""Weights, config and live frequencies that disagree: each fault is found, and called by its name."""

from __future__ import annotations

from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from rope_scaling import patch_model
from rope_scaling.eval.fetch import fetch
from rope_scaling.eval.probe import Probe, print_probe, probe_checkpoint, probe_model
from rope_scaling.eval.run import load
from rope_scaling.patches.laws.law import LawResult
from rope_scaling.patches.laws.mismatch import factor_law, find_mismatches, head_dim_law
from rope_scaling.patches.laws.rebuilt import rebuilt
from tests.models import tiny_config, tiny_gemma3, tiny_model
from tests.patches.state import assert_same, everything, rotary

READ = ["live frequencies", "head_dim", "factor"]
BY_TEXT = ["theta", "layout", "heads"]
HEAD_DIM = 32
BACK = 4
STEPS = 200
YARN = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 16}


def noisy_copies(count: int, rows: int = 1, seed: int = 0) -> Tensor:
    """Tokens that repeat the one `BACK` before, four times in five: which one that is only RoPE can tell."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(3, 97, (rows, count), generator=generator)
    fresh = torch.rand(rows, count, generator=generator) < 0.2
    for at in range(BACK, count):
        ids[:, at] = torch.where(fresh[:, at], ids[:, at], ids[:, at - BACK])
    return ids


@pytest.fixture(scope="module")
def trained() -> PreTrainedModel:
    """A Llama that has learned, in seconds, to repeat the token `BACK` positions back."""
    model = tiny_model(tiny_config(initializer_range=0.02, max_position_embeddings=256)).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for step in range(STEPS):
        ids = noisy_copies(count=256, rows=8, seed=step)
        logits = model(ids, use_cache=False).logits[:, :-1]
        optimizer.zero_grad()
        nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten()).backward()
        optimizer.step()
    return model.eval()


@pytest.fixture
def weights_kept(trained: PreTrainedModel) -> Iterator[PreTrainedModel]:
    """The trained model, whose weights a test may spoil."""
    kept = {name: p.detach().clone() for name, p in trained.named_parameters()}
    yield trained
    with torch.no_grad():
        for name, p in trained.named_parameters():
            p.copy_(kept[name])


def found(model: nn.Module, text: Tensor | None = None, **options: Any) -> dict[str, LawResult]:
    return {one.name: one for one in find_mismatches(model, text, **options)}


def wrong(model: nn.Module, text: Tensor | None = None) -> list[str]:
    return [one.name for one in find_mismatches(model, text) if one.passed is False]


def with_parameters(model: PreTrainedModel, **parameters: Any) -> PreTrainedModel:
    """The same weights, loaded with other rope_parameters."""
    with rebuilt(model, rope_parameters={"rope_type": "default", "rope_theta": 1e4} | parameters) as other:
        assert isinstance(other, PreTrainedModel)
        return other


@torch.no_grad()
def reorder(model: nn.Module, order: Tensor) -> None:
    """Permute the rows of each head of q_proj and k_proj, as a conversion between layouts does."""
    for name, p in model.named_parameters():
        if name.endswith(("q_proj.weight", "k_proj.weight")):
            p.copy_(p.view(-1, len(order), p.shape[1])[:, order].reshape(p.shape))


TEXT = noisy_copies(256, seed=10_000)
TO_HALF = torch.arange(HEAD_DIM).view(-1, 2).T.reshape(-1)  # 0, 2, 4, ..., 1, 3, 5, ...


def test_a_sound_model_has_none(trained: PreTrainedModel) -> None:
    results = found(trained, TEXT)
    assert [*results] == READ + BY_TEXT
    assert results.pop("factor").passed is None
    assert all(one.passed for one in results.values()), results


def test_frequencies_that_are_not_the_configs_are_found() -> None:
    model = tiny_model()
    model.config.rope_parameters = {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0}
    assert wrong(model) == ["live frequencies"]
    assert "rope_parameters was edited after loading" in found(model)["live frequencies"].sentence


@pytest.mark.parametrize("model_type", ["llama", "qwen3", "phi3", "gpt_neox", "falcon", "gemma", "mixtral"])
def test_head_dim_fits_the_weights_of_sound_models(model_type: str) -> None:
    assert found(tiny_model(model_type))["head_dim"].passed


@pytest.mark.parametrize("model_type", ["llama", "qwen3", "phi3", "mixtral"])
def test_a_head_dim_that_is_halved_is_found(model_type: str) -> None:
    model = tiny_model(model_type)
    model.config.head_dim = HEAD_DIM // 2
    result = found(model)["head_dim"]
    assert result.passed is False
    assert result.sentence.endswith("the config says 16")
    assert (result.measured, result.bound) == (HEAD_DIM, HEAD_DIM // 2)


def test_a_head_dim_that_is_halved_is_found_on_disk_where_loading_fails(tmp_path: Path) -> None:
    tiny_model().save_pretrained(tmp_path)
    AutoConfig.from_pretrained(tmp_path, head_dim=HEAD_DIM // 2).save_pretrained(tmp_path)
    with pytest.raises(RuntimeError):
        AutoModelForCausalLM.from_pretrained(tmp_path)
    probe = probe_checkpoint(str(tmp_path))
    assert [one.name for one in probe.mismatches] == ["head_dim"]
    assert not probe.passed


def test_unknown_projections_are_not_judged() -> None:
    assert head_dim_law(tiny_config(), {"wq.weight": (64, 64)}).passed is None
    packed = {"model.layers.0.self_attn.q_proj.weight": (2048, 1)}
    assert head_dim_law(tiny_config(), packed).passed is None
    assert found(tiny_model("gpt_neox"))["head_dim"].sentence == "2 projections fit heads of 32 dimensions"


def test_weights_that_are_split_into_twice_as_many_heads_of_half_the_size_are_found(trained: PreTrainedModel) -> None:
    with rebuilt(trained, num_attention_heads=4, num_key_value_heads=2, head_dim=HEAD_DIM // 2) as halved:
        results = found(halved, TEXT)
    assert results["head_dim"].passed, "the shapes are the same"
    assert results["heads"].passed is False
    assert "with 2 heads of 32 dimensions than with 4 heads of 16 dimensions" in results["heads"].sentence


@pytest.mark.parametrize("theta", [1e6, 1e7])
def test_the_theta_of_another_model_is_found(trained: PreTrainedModel, theta: float) -> None:
    results = found(with_parameters(trained, rope_theta=theta), TEXT)
    assert [name for name, one in results.items() if one.passed is False] == ["theta"]
    assert f"with theta 10000 than with theta {theta:g}" in results["theta"].sentence


def test_a_factor_that_only_the_config_knows_is_found(trained: PreTrainedModel) -> None:
    model = with_parameters(trained, rope_type="linear", factor=4.0)
    assert "less with plain frequencies than with rope_type 'linear'" in found(model, TEXT)["theta"].sentence


@pytest.mark.parametrize(
    ("order", "mend"),
    [(TO_HALF.argsort(), "interleaved to half-split"), (TO_HALF, "half-split to interleaved")],
)
def test_a_wrong_layout_is_found(weights_kept: PreTrainedModel, order: Tensor, mend: str) -> None:
    reorder(weights_kept, order)
    results = found(weights_kept, TEXT)
    assert [name for name, one in results.items() if one.passed is False] == ["layout"]
    assert f"reordered from {mend}" in results["layout"].sentence


def test_one_fault_is_not_told_as_three(weights_kept: PreTrainedModel) -> None:
    reorder(weights_kept, TO_HALF)
    results = [found(weights_kept, TEXT)[name] for name in ("theta", "heads")]
    assert all(one.passed or "before layout is mended" in one.sentence for one in results)


def test_random_weights_tell_nothing() -> None:
    results = found(tiny_model(), TEXT)
    assert all("the model guesses" in results[name].sentence for name in BY_TEXT)


@pytest.mark.parametrize(("ids", "reason"), [(None, "takes a text"), (TEXT[:, :64], "fewer than 129 tokens")])
def test_too_little_text_tells_nothing(trained: PreTrainedModel, ids: Tensor | None, reason: str) -> None:
    results = found(trained, ids)
    assert all(results[name].passed is None and reason in results[name].sentence for name in BY_TEXT)


def test_a_patched_model_is_not_judged_by_text() -> None:
    results = found(patch_model(tiny_model(), "yarn", factor=4), TEXT)
    assert results["live frequencies"].passed
    assert all("unpatch it first" in results[name].sentence for name in BY_TEXT)


def test_a_model_without_separate_projections_is_not_judged_by_layout() -> None:
    assert "separate q_proj and k_proj" in found(tiny_model("phi3"), TEXT)["layout"].sentence


def test_each_layer_type_has_its_own_theta_and_factor() -> None:
    names = [*found(tiny_gemma3(["sliding_attention", "full_attention"]), TEXT)]
    assert {"theta of full_attention", "theta of sliding_attention", "factor of full_attention"} <= {*names}


@pytest.mark.parametrize(
    ("changes", "passed", "sentence"),
    [
        ({}, True, "factor 4, and 64 tokens after 16 is 4 times as many"),
        ({"factor": 2.0}, False, "factor 2, and 64 tokens after 16 is 4 times as many"),
        ({"original_max_position_embeddings": 128}, False, "(128) is more than max_position_embeddings (64)"),
        ({"rope_type": "linear"}, True, "factor 4"),
        ({"rope_type": "llama3", "low_freq_factor": 1.0, "high_freq_factor": 4.0}, None, "Llama 3.1"),
    ],
)
def test_a_factor_is_held_against_the_lengths(changes: dict[str, Any], passed: bool | None, sentence: str) -> None:
    result = factor_law(tiny_config(rope_parameters=YARN | changes))
    assert result.passed is passed
    assert sentence in result.sentence


def test_a_factor_without_an_original_length_is_not_judged() -> None:
    parameters = {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0}
    assert factor_law(tiny_config(rope_parameters=parameters)).passed is None


def test_the_model_is_left_as_it_was(trained: PreTrainedModel) -> None:
    trained.train()
    address = rotary(trained).get_buffer("inv_freq").data_ptr()
    weights = {name: (p.data_ptr(), p.detach().clone()) for name, p in trained.named_parameters()}
    before = everything(trained)
    find_mismatches(trained, TEXT)
    assert_same(everything(trained), before)
    assert trained.training
    trained.eval()
    assert rotary(trained).get_buffer("inv_freq").data_ptr() == address
    assert all(weights[n][0] == p.data_ptr() and torch.equal(weights[n][1], p) for n, p in trained.named_parameters())


def printed(probe: Probe) -> str:
    out = StringIO()
    print_probe(Console(file=out, width=160), probe)
    return out.getvalue()


def test_a_probe_prints_numbers_and_verdicts(trained: PreTrainedModel) -> None:
    sound = printed(probe_model(trained, TEXT))
    assert "laws of RoPE" in sound
    assert "weights against config" in sound
    assert "nothing failed" in sound
    assert "failed: theta" in printed(probe_model(with_parameters(trained, rope_theta=1e6), TEXT))


def test_a_probe_of_a_model_without_rope_tells_the_reason_once() -> None:
    probe = probe_model(tiny_model("gpt2"))
    assert (probe.mismatches, probe.passed) == ((), True)
    assert printed(probe).count("does not apply: GPT2LMHeadModel") == 1


@pytest.fixture(scope="module")
def smollm2() -> tuple[PreTrainedModel, Tensor]:
    model, tokenizer = load(str(fetch("smollm2")), "float32", "cpu")
    content = Path(fetch("paradise-lost")).read_text(encoding="utf-8")[:8192]
    return model, tokenizer(content, return_tensors="pt").input_ids[:, :512]


@pytest.mark.slow
@pytest.mark.parametrize("theta", [1e4, 5e5, 1e6])
def test_smollm2_with_the_theta_of_another_model(smollm2: tuple[PreTrainedModel, Tensor], theta: float) -> None:
    results = found(with_parameters(smollm2[0], rope_theta=theta), smollm2[1])
    assert [name for name, one in results.items() if one.passed is False] == ["theta"]
    assert "with theta 100000 than" in results["theta"].sentence


@pytest.mark.slow
def test_smollm2_is_sound_and_with_permuted_weights_it_is_not(smollm2: tuple[PreTrainedModel, Tensor]) -> None:
    model, ids = smollm2
    assert probe_model(model, ids).passed
    order = torch.arange(64).view(-1, 2).T.reshape(-1)
    reorder(model, order)
    try:
        assert wrong(model, ids) == ["layout"]
    finally:
        reorder(model, order.argsort())
