"""Generation from patched models, in every mode: the tokens of the native twin, and of one forward a token."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import DynamicCache, PreTrainedModel, StaticCache

from rope_scaling import patch_model
from tests.models import TRAINED, logits, tiny_config, tiny_model, tokens
from tests.patches.twins import patched_yarn, twin_of_patched, yarn_config

PROMPTS = tokens(TRAINED - 4, rows=2)
"""They end shortly before the trained length; what is generated goes on beyond it, (2, 60)."""
NEW = 24

MODES: dict[str, dict[str, Any]] = {
    "greedy": {},
    "no cache": {"use_cache": False},
    "sampling": {"do_sample": True, "top_k": 20},
    "nucleus": {"do_sample": True, "top_p": 0.9, "temperature": 1.5},
    "beams": {"num_beams": 3},
    "sampled beams": {"num_beams": 3, "do_sample": True},
    "static cache": {"cache_implementation": "static"},
    "several a prompt": {"do_sample": True, "num_return_sequences": 3},
    "prompt lookup": {"prompt_lookup_num_tokens": 3},
}
NO_SUCH_ROWS = {"prompt lookup"}
"""Modes that Transformers has for one row only."""


def generate(model: PreTrainedModel, prompts: torch.Tensor, **how: Any) -> torch.Tensor:
    torch.manual_seed(7)
    sizes = {"max_new_tokens": NEW, "min_new_tokens": NEW, "pad_token_id": 0}
    out: torch.Tensor = model.generate(prompts, **({"do_sample": False} | sizes | how))
    return out[:, prompts.shape[1] :]  # (rows, NEW)


def greedily_without_a_cache(model: PreTrainedModel, prompts: torch.Tensor) -> torch.Tensor:
    """What greedy generation comes to, one whole forward a token, (rows, NEW)."""
    ids = prompts
    for _ in range(NEW):
        last = logits(model, ids)[:, -1]  # (rows, vocab)
        last[:, model.config.eos_token_id] = -torch.inf  # as min_new_tokens asks
        ids = torch.cat([ids, last.argmax(-1, keepdim=True)], dim=1)
    return ids[:, prompts.shape[1] :]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("model_type", ["llama", "qwen3", "gpt_neox"])
def test_a_patched_model_generates_what_its_native_twin_generates(model_type: str, mode: str) -> None:
    prompts = PROMPTS[:1] if mode in NO_SUCH_ROWS else PROMPTS
    ours = generate(patched_yarn(model_type), prompts, **MODES[mode])
    assert torch.equal(ours, generate(twin_of_patched(model_type), prompts, **MODES[mode]))
    assert not torch.equal(ours, generate(tiny_model(model_type), prompts, **MODES[mode])), "the patch does nothing"


@pytest.mark.parametrize("how", [{}, {"cache_implementation": "static"}, {"use_cache": False}], ids=str)
@pytest.mark.parametrize("model_type", ["llama", "phi3", "gemma", "mixtral", "stablelm", "smollm3"])
def test_greedy_generation_is_one_forward_a_token(model_type: str, how: dict[str, Any]) -> None:
    model = patch_model(tiny_model(model_type), "yarn", factor=4)
    assert torch.equal(generate(model, PROMPTS, **how), greedily_without_a_cache(model, PROMPTS))


@pytest.mark.parametrize("assistant_is_patched", [True, False])
def test_assisted_generation_is_greedy_generation(assistant_is_patched: bool) -> None:
    model, assistant = patched_yarn(), tiny_model(tiny_config(num_hidden_layers=1))
    if assistant_is_patched:
        patched_yarn(assistant)
    assert torch.equal(generate(model, PROMPTS[:1], assistant_model=assistant), generate(model, PROMPTS[:1]))


@pytest.mark.parametrize("cache", [None, "static"])
def test_a_sliding_window_cache_gives_what_no_cache_gives(cache: str | None) -> None:
    window = {"sliding_window": 24}
    model, twin = patched_yarn("mistral", **window), twin_of_patched("mistral", **window)
    how = {"cache_implementation": cache}
    ours = generate(model, PROMPTS, **how)
    assert torch.equal(ours, greedily_without_a_cache(model, PROMPTS))
    assert torch.equal(ours, generate(twin, PROMPTS, **how))
    assert not torch.equal(ours, generate(patched_yarn("mistral", sliding_window=None), PROMPTS, **how))


@pytest.mark.parametrize("layers", [["sliding_attention", "full_attention"], ["full_attention", "sliding_attention"]])
def test_layers_with_and_without_a_window_generate_what_no_cache_gives(layers: list[str]) -> None:
    config = tiny_config("gemma3_text", layer_types=layers, sliding_window=16)
    model = patch_model(tiny_model(config), "linear", factor=4)
    assert torch.equal(generate(model, PROMPTS), greedily_without_a_cache(model, PROMPTS))


@torch.no_grad()
@pytest.mark.parametrize("kind", [DynamicCache, StaticCache])
@pytest.mark.parametrize("model_type", ["llama", "phi3", "gpt_neox"])
def test_prefill_in_parts_and_single_tokens_give_the_logits_of_one_forward(model_type: str, kind: type) -> None:
    model, ids = patch_model(tiny_model(model_type), "yarn", factor=4), tokens(3 * TRAINED)
    sizes = {"max_cache_len": 3 * TRAINED} if kind is StaticCache else {}
    cache = kind(config=model.config, **sizes)
    parts = [*ids[:, :-8].split(50, dim=1), *ids[:, -8:].split(1, dim=1)]
    out, seen = [], 0
    for part in parts:
        positions = torch.arange(seen, seen + part.shape[1])[None]
        out.append(model(part, past_key_values=cache, position_ids=positions).logits)
        seen += part.shape[1]
    assert torch.allclose(torch.cat(out, dim=1), logits(model, ids), atol=1e-5)


@pytest.mark.slow
def test_a_quantized_cache_gives_the_tokens_of_the_native_twin() -> None:
    # quanto compiles its kernels at first use: a minute, once
    sizes = {"backend": "quanto", "nbits": 4, "residual_length": 16, "q_group_size": 16}
    how = {"cache_implementation": "quantized", "cache_config": sizes}
    ours = generate(patched_yarn(), PROMPTS, **how)
    assert torch.equal(ours, generate(tiny_model(yarn_config()), PROMPTS, **how))
    assert not torch.equal(ours, generate(patched_yarn(), PROMPTS)), "nothing was quantised"


@pytest.mark.gpu
@pytest.mark.parametrize("cache", ["offloaded", "offloaded_static"])
def test_an_offloaded_cache_gives_the_tokens_of_one_that_stays(cache: str) -> None:
    model, prompts = patched_yarn().cuda(), PROMPTS.cuda()
    assert torch.equal(generate(model, prompts, cache_implementation=cache), generate(model, prompts))
