"""The laws of RoPE: sound models keep them, broken ones are caught by the law they break, exceptions are named."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers.models.llama import modeling_llama

from rope_scaling import patch_model
from rope_scaling.patches.laws import LawResult, check_laws
from rope_scaling.patches.laws.measure import measure_rotations, record
from tests.models import ARCHITECTURES, TRAINED, tiny_config, tiny_gemma3, tiny_model, tokens
from tests.patches.state import assert_same, everything, rotary

LAWS = ["shift", "suffix", "cache", "values", "queries and keys", "relative", "norms", "origin", "frequencies"]
MORE: dict[str, dict[str, Any]] = {
    "gemma3_text": {},
    "cohere": {},
    "glm": {},
    "gemma2": {},
    "nanochat": {},
    "gpt_oss": {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4}},
    "llama4_text": {"num_hidden_layers": 4, "num_local_experts": 2, "intermediate_size_mlp": 64},
    "deepseek_v3": {
        "num_key_value_heads": 2,
        "head_dim": None,
        "qk_rope_head_dim": 16,
        "qk_nope_head_dim": 16,
        "v_head_dim": 32,
        "q_lora_rank": 32,
        "kv_lora_rank": 32,
        "n_routed_experts": 4,
        "num_experts_per_tok": 2,
        "first_k_dense_replace": 1,
        "n_group": 1,
        "topk_group": 1,
    },
}
SCALED = {
    "rope_type": "default",
    "rope_theta": 1e4,
    "llama_4_scaling_beta": 0.1,
    "original_max_position_embeddings": TRAINED,
}
FAR = 2 * TRAINED


def laws(model: nn.Module, **options: Any) -> dict[str, LawResult]:
    results = check_laws(model, **options)
    assert [one.name for one in results] == LAWS
    return {one.name: one for one in results}


def broken(model: nn.Module) -> set[str]:
    return {one.name for one in check_laws(model) if one.passed is False}


@pytest.mark.parametrize("model_type", [*ARCHITECTURES, *MORE])
def test_a_sound_model_keeps_every_law(model_type: str) -> None:
    model = tiny_model(tiny_config(model_type, **MORE.get(model_type, {})))
    for one in check_laws(model):
        assert one.passed, one
        assert one.measured <= one.bound


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("model_type", ["llama", "phi3", "gpt_neox", "cohere", "falcon"])
def test_the_bounds_follow_the_dtype(model_type: str, dtype: torch.dtype) -> None:
    found = laws(tiny_model(model_type).to(dtype))
    assert all(one.passed for one in found.values()), found
    assert found["shift"].bound > 100 * laws(tiny_model(model_type))["shift"].bound


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_attention_is_watched_in_torch_and_in_eager_form(implementation: str) -> None:
    model = tiny_model("qwen3")
    model.set_attn_implementation(implementation)
    assert all(one.passed for one in check_laws(model))


@pytest.mark.parametrize("scheme", ["linear", "ntk", "yarn", "llama3"])
def test_a_patched_model_keeps_every_law(scheme: str) -> None:
    found = laws(patch_model(tiny_model(), scheme, factor=4))
    assert all(one.passed for one in found.values()), found
    assert ("attention_factor 1.139" in found["origin"].sentence) == (scheme == "yarn")


def test_the_model_is_left_as_it_was() -> None:
    model = patch_model(tiny_model(), "yarn").train()
    model.model.layers[0].eval()
    training = [module.training for module in model.modules()]
    hooks = [len(m._forward_hooks) for m in model.modules()]
    weights = {name: p.clone() for name, p in model.named_parameters()}
    before = everything(model)
    check_laws(model)
    assert_same(everything(model), before)
    assert [module.training for module in model.modules()] == training
    assert [len(m._forward_hooks) for m in model.modules()] == hooks
    assert all(torch.equal(p, weights[name]) for name, p in model.named_parameters())


def test_the_model_is_left_as_it_was_after_an_error() -> None:
    model = tiny_model().train()
    before = everything(model)
    with pytest.raises(IndexError):
        check_laws(model, input_ids=torch.full((1, 16), 1_000_000))
    assert_same(everything(model), before)
    assert model.training
    assert not model.get_input_embeddings()._forward_hooks


@pytest.mark.parametrize(("model_type", "layout"), [("llama", "half-split"), ("cohere", "interleaved")])
def test_layout_and_frequencies_are_measured(model_type: str, layout: str) -> None:
    model = tiny_model(model_type)
    for one in measure_rotations(record(model, TRAINED, 5)):
        assert (one.layout, one.start, one.direction) == (layout, 0, 1)
        assert one.inv_freq == pytest.approx(rotary(model).get_buffer("inv_freq").tolist(), abs=1e-6)


def test_the_rotated_part_of_a_head_is_found() -> None:
    partial = measure_rotations(record(tiny_model("gpt_neox"), TRAINED, 5))[0]
    assert (partial.start, len(partial.inv_freq)) == (0, 4)
    latent = measure_rotations(record(tiny_model(tiny_config("deepseek_v3", **MORE["deepseek_v3"])), TRAINED, 5))[0]
    assert (latent.start, len(latent.inv_freq)) == (16, 8)


def test_a_model_that_turns_backwards_is_told() -> None:
    assert "turned backwards" in laws(tiny_model("nanochat"))["frequencies"].sentence


def test_each_layer_type_turns_by_its_own_frequencies() -> None:
    model = tiny_gemma3(["sliding_attention", "full_attention"])
    kinds = [one.table.layer_type for one in measure_rotations(record(model, TRAINED, 5))]
    assert kinds == ["sliding_attention", "full_attention"]


def test_layers_without_rotation_are_counted() -> None:
    assert laws(tiny_model("smollm3"))["queries and keys"].sentence == (
        "1 of 2 layers turn both queries and keys; 1 turn neither (NoPE)"
    )


def rotates(monkeypatch: pytest.MonkeyPatch, change: Any) -> None:
    """Give Llama's layers another rotation: `change(own, q, k, cos, sin) -> q, k`."""
    own = modeling_llama.apply_rotary_pos_emb
    monkeypatch.setattr(modeling_llama, "apply_rotary_pos_emb", lambda q, k, cos, sin: change(own, q, k, cos, sin))


@pytest.mark.parametrize("what", ["queries", "keys"])
def test_rotating_only_one_of_queries_and_keys_is_caught(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def one_only(own: Any, q: Tensor, k: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
        rotated_q, rotated_k = own(q, k, cos, sin)
        return (rotated_q, k) if what == "queries" else (q, rotated_k)

    rotates(monkeypatch, one_only)
    assert {"shift", "queries and keys", "relative"} <= broken(tiny_model())
    assert f"turn their {what} only" in laws(tiny_model())["queries and keys"].sentence


def test_rotating_values_is_caught() -> None:
    model = tiny_model()
    for layer in model.model.layers:
        seen: list[Any] = []

        def look(_module: nn.Module, _args: Any, kwargs: Any, seen: list[Any] = seen) -> None:
            seen[:] = kwargs["position_embeddings"]

        def rotate(_module: nn.Module, _args: Any, out: Tensor, seen: list[Any] = seen) -> Tensor:
            cos, sin = seen
            return out * cos + modeling_llama.rotate_half(out) * sin

        layer.self_attn.register_forward_pre_hook(look, with_kwargs=True)
        layer.self_attn.v_proj.register_forward_hook(rotate)
    assert {"shift", "values"} <= broken(model)
    assert "V must not be rotated" in laws(model)["values"].sentence


def test_a_rotation_that_stretches_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    rotates(monkeypatch, lambda own, q, k, cos, sin: own(q, k, cos, 1.1 * sin))
    assert {"norms", "relative"} <= broken(tiny_model())


def test_positions_that_start_at_one_break_only_the_origin(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model()
    turn = rotary(model).forward
    monkeypatch.setattr(rotary(model), "forward", lambda x, position_ids: turn(x, position_ids + 1))
    assert broken(model) == {"origin"}


def test_attention_that_turns_by_other_frequencies_than_the_live_ones_is_caught(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = tiny_model()
    turn = rotary(model).forward
    monkeypatch.setattr(rotary(model), "forward", lambda x, position_ids: turn(x, 2 * position_ids))
    assert broken(model) == {"frequencies"}
    assert laws(model)["frequencies"].sentence == (
        "pair 0 turns by 2 radians per token, where the live inv_freq says 1 (half-split)"
    )


def test_a_rotation_in_no_known_layout_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    order = torch.randperm(32, generator=torch.Generator().manual_seed(0))

    def shuffled(own: Any, q: Tensor, k: Tensor, cos: Tensor, sin: Tensor) -> Any:
        return tuple(x[..., order.argsort()] for x in own(q[..., order], k[..., order], cos, sin))

    rotates(monkeypatch, shuffled)
    assert "neither half-split nor interleaved" in laws(tiny_model())["frequencies"].sentence


def test_looking_ahead_is_caught() -> None:
    model = tiny_model()
    model.model.layers[0].mlp.register_forward_hook(lambda _module, _args, out: out + out.mean(dim=1, keepdim=True))
    assert broken(model) == {"suffix", "cache"}


def test_a_cache_whose_keys_stand_elsewhere_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model()
    turn = rotary(model).forward

    def from_zero(x: Tensor, position_ids: Tensor) -> Any:  # as if each call began a sequence
        return turn(x, position_ids - position_ids[:, :1])

    monkeypatch.setattr(rotary(model), "forward", from_zero)
    assert "cache" in broken(model)


@pytest.mark.parametrize(
    ("model_type", "changes", "reason"),
    [
        ("ministral3", {"rope_parameters": SCALED}, "llama_4_scaling_beta"),
        ("beam", {}, "scalable softmax"),
        ("recurrent_gemma", {"num_hidden_layers": 3, "lru_width": 64}, "starts anew at position 0"),
        ("gpt2", {"max_position_embeddings": 4 * TRAINED}, "adds absolute positions to its tokens (transformer.wpe)"),
        ("opt", {"max_position_embeddings": 4 * TRAINED}, "adds absolute positions to its tokens"),
        ("bloom", {}, "ignores position_ids"),
    ],
)
def test_models_that_are_absolute_by_design_are_named(model_type: str, changes: dict[str, Any], reason: str) -> None:
    found = laws(tiny_model(tiny_config(model_type, **changes)), shift=FAR)
    assert found["shift"].passed is None
    assert reason in found["shift"].sentence
    assert found["suffix"].passed
    assert not any(one.passed is False for one in found.values())


def test_frequencies_that_follow_the_length_are_named() -> None:
    parameters = {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}
    model = tiny_model(tiny_config(rope_parameters=parameters))
    before = rotary(model).get_buffer("inv_freq").clone()
    assert "'dynamic' changes its frequencies" in laws(model, shift=FAR)["shift"].sentence
    assert torch.equal(rotary(model).get_buffer("inv_freq"), before)


def test_models_without_rotation_are_told_so() -> None:
    found = laws(tiny_model("gpt2"))
    assert all("no rotary position embedding" in found[name].sentence for name in LAWS[3:])


def test_keys_that_are_all_zero_tell_nothing() -> None:
    model = tiny_model()
    nn.init.zeros_(model.model.layers[0].self_attn.k_proj.weight)
    assert all("all zero" in laws(model)[name].sentence for name in LAWS[3:])


def test_a_fault_within_the_trained_length_is_no_exception(monkeypatch: pytest.MonkeyPatch) -> None:
    parameters = {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}
    rotates(monkeypatch, lambda own, q, k, cos, sin: (own(q, k, cos, sin)[0], k))
    assert {"shift", "queries and keys"} <= broken(tiny_model(tiny_config(rope_parameters=parameters)))


def test_attention_that_cannot_be_seen_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model()
    for layer in model.model.layers:
        monkeypatch.setattr(layer.self_attn, "forward", lambda hidden_states, **options: (hidden_states, None))
    assert "load the model with attn_implementation='eager'" in laws(model)["values"].sentence


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"input_ids": tokens(4)}, r"at least 8 tokens, \(1, tokens\), got shape \(1, 4\)"),
        ({"input_ids": tokens(16, rows=2)}, r"one row"),
        ({"shift": 0}, "shift must be a positive number of tokens, got 0"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_laws(tiny_model(), **options)


def test_what_is_no_language_model_is_refused() -> None:
    with pytest.raises(TypeError, match="causal language model of Transformers, got Linear"):
        check_laws(nn.Linear(2, 2))


def test_a_checkpoint_that_switches_lists_is_left_with_the_list_it_had() -> None:
    parameters = {
        "rope_type": "longrope",
        "rope_theta": 1e4,
        "short_factor": [1.0] * 16,
        "long_factor": [1.0 + i for i in range(16)],
        "factor": 4.0,
        "original_max_position_embeddings": 16,
    }
    model = tiny_model(tiny_config(rope_parameters=parameters))
    model(tokens(40))
    live = rotary(model).get_buffer("inv_freq")
    held = live.clone()
    check_laws(model)
    assert rotary(model).get_buffer("inv_freq") is live
    assert torch.equal(live, held)
