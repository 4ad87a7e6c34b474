"""Compiled, exported, and under every attention kernel: the numbers of the native twin."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext

import pytest
import torch
from transformers import PreTrainedModel, StaticCache

from rope_scaling import patch_model, unpatch_model
from tests.models import ARCHITECTURES, TRAINED, logits, tiny_model, tokens
from tests.patches.twins import FACTOR, IDS, linear_config, patched_yarn, twin_of_patched

OTHER = tokens(3 * TRAINED, seed=9)
CLOSE = 2e-5
"""Inductor fuses and reorders."""


@pytest.fixture(autouse=True)
def _fresh_compiler() -> Iterator[None]:
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def no_recompiling() -> AbstractContextManager[None]:
    return torch._dynamo.config.patch(error_on_recompile=True)


def assert_close(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    assert (ours - theirs).abs().max() <= CLOSE


@pytest.mark.parametrize("model_type", ARCHITECTURES)
def test_there_is_one_graph_and_it_serves_every_call(model_type: str) -> None:
    model = patch_model(tiny_model(model_type), "ntk-by-parts", factor=FACTOR)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    assert_close(logits(compiled, IDS), logits(model, IDS))
    with no_recompiling():
        assert_close(logits(compiled, OTHER), logits(model, OTHER))


def test_texts_of_many_lengths_need_one_dynamic_graph() -> None:
    model, twin = patched_yarn(), twin_of_patched()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager", dynamic=True)
    logits(compiled, IDS)
    with no_recompiling():
        for count in (20, TRAINED, TRAINED + 1, 3 * TRAINED):  # on both sides of the trained length
            ids = tokens(count)
            assert_close(logits(compiled, ids), logits(twin, ids))


def test_a_graph_made_before_a_patch_is_not_used_after_it() -> None:
    model = tiny_model()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    assert_close(logits(compiled, IDS), logits(tiny_model(), IDS))
    patch_model(compiled, "yarn", factor=FACTOR)
    assert_close(logits(compiled, IDS), logits(twin_of_patched(), IDS))
    patch_model(model, "linear", factor=3)
    assert_close(logits(compiled, IDS), logits(tiny_model(linear_config(3.0)), IDS))
    unpatch_model(compiled)
    assert_close(logits(compiled, IDS), logits(tiny_model(), IDS))


@torch.no_grad()
def test_decoding_with_a_static_cache_compiles_once() -> None:
    model, twin = patched_yarn(), twin_of_patched()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    cache = StaticCache(config=model.config, max_cache_len=2 * TRAINED)
    ids = tokens(TRAINED + 12)
    model(ids[:, :TRAINED], past_key_values=cache)
    for place in range(TRAINED, TRAINED + 12):  # past the trained length
        with no_recompiling() if place > TRAINED + 1 else nullcontext():
            part, positions = ids[:, place : place + 1], torch.tensor([[place]])
            out = compiled(part, past_key_values=cache, position_ids=positions).logits
        assert_close(out[:, 0], logits(twin, ids[:, : place + 1])[:, -1])


def test_a_model_compiled_in_place_is_patched_and_undone() -> None:
    model = tiny_model()
    model.compile(fullgraph=True, backend="aot_eager")
    assert_close(logits(patch_model(model, "yarn", factor=FACTOR), IDS), logits(twin_of_patched(), IDS))
    assert_close(logits(unpatch_model(model), IDS), logits(tiny_model(), IDS))


@pytest.mark.slow
def test_inductor_compiles_it_once_for_texts_of_many_lengths() -> None:
    model, twin = patched_yarn(), twin_of_patched()
    compiled = torch.compile(model, fullgraph=True, dynamic=True)
    logits(compiled, IDS)
    with no_recompiling():
        for count in (20, TRAINED + 1, 3 * TRAINED):
            ids = tokens(count)
            assert_close(logits(compiled, ids), logits(twin, ids))


@pytest.mark.slow
def test_a_compiled_training_step_is_that_of_the_native_twin() -> None:
    def loss_and_gradient(model: PreTrainedModel) -> tuple[torch.Tensor, torch.Tensor]:
        loss = torch.compile(model, fullgraph=True)(IDS, labels=IDS, use_cache=False).loss
        loss.backward()
        return loss.detach(), model.get_submodule("model.layers.0.self_attn.q_proj").weight.grad

    for ours, theirs in zip(loss_and_gradient(patched_yarn()), loss_and_gradient(twin_of_patched()), strict=True):
        assert_close(ours, theirs)


@torch.no_grad()
def test_an_exported_program_is_the_native_twin() -> None:
    program = torch.export.export(patched_yarn(), (IDS,), {"use_cache": False}, strict=True)
    assert_close(program.module()(OTHER, use_cache=False).logits, logits(twin_of_patched(), OTHER))


@torch.no_grad()
def test_a_program_exported_for_every_length_is_the_native_twin_at_each() -> None:
    length = {1: torch.export.Dim("length", min=2, max=4 * TRAINED)}
    shapes = {"input_ids": length, "use_cache": None}
    program = torch.export.export(patched_yarn(), (IDS,), {"use_cache": False}, dynamic_shapes=shapes, strict=False)
    for count in (20, TRAINED + 1, 3 * TRAINED):
        ids = tokens(count)
        assert_close(program.module()(ids, use_cache=False).logits, logits(twin_of_patched(), ids))


@pytest.mark.parametrize("model_type", ARCHITECTURES)
def test_eager_attention_gives_what_sdpa_gives(model_type: str) -> None:
    model = patch_model(tiny_model(model_type), "yarn", factor=FACTOR)
    model.set_attn_implementation("sdpa")
    out = logits(model, IDS)
    model.set_attn_implementation("eager")
    assert_close(logits(model, IDS), out)


@pytest.mark.parametrize("kernel", ["eager", "sdpa", pytest.param("flex_attention", marks=pytest.mark.slow)])
def test_under_each_attention_kernel_a_patched_model_is_its_native_twin(kernel: str) -> None:
    ours, theirs = patched_yarn(attn_implementation=kernel), twin_of_patched(attn_implementation=kernel)
    assert ours.config._attn_implementation == kernel
    out = logits(ours, IDS)
    assert torch.equal(out, logits(theirs, IDS))
    assert_close(out, logits(patched_yarn(), IDS))
