"""Nothing in a forward looks at a tensor's values: one graph for all lengths, on any device, also without numbers."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch._dynamo.testing import CompileCounter
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import StaticCache

from rope_scaling import rope_length
from tests.models import TRAINED, tokens
from tests.patches.dynamic.models import LONGEST, TEXT, apart, dynamic, new_cache, read, whole

TWO = torch.cat((TEXT, tokens(LONGEST, seed=2)))


@pytest.fixture(autouse=True)
def forget_graphs() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def test_one_graph_reads_texts_within_and_past_the_trained_length() -> None:
    model, counter = dynamic(num_hidden_layers=1), CompileCounter()
    compiled = torch.compile(model, fullgraph=True, dynamic=True, backend=counter)
    for length in (TRAINED - 24, TRAINED, TRAINED + 1, 100, 200, LONGEST):
        assert torch.equal(whole(compiled, TWO[:, :length]), whole(model, TWO[:, :length]))
    assert counter.frame_count == 1


def test_one_graph_decodes_with_a_static_cache_through_growth() -> None:
    model, counter = dynamic(num_hidden_layers=1), CompileCounter()
    compiled = torch.compile(model, fullgraph=True, backend=counter)
    caches = [new_cache(model, "static") for _ in range(2)]
    for cache in caches:
        read(model, TWO, cache, [50])
    own = read(model, TWO[:, 50:], caches[0], [1] * 80)
    assert apart(read(compiled, TWO[:, 50:], caches[1], [1] * 80), own) < 1e-5
    assert counter.frame_count == 1


def test_a_growing_cache_costs_no_graph_more_than_without_the_patch() -> None:
    counts = []
    for patched in (False, True):
        torch._dynamo.reset()
        model, counter = dynamic(num_hidden_layers=1), CompileCounter()
        if not patched:
            from rope_scaling import unpatch_model

            unpatch_model(model)
        compiled = torch.compile(model, fullgraph=True, backend=counter)
        cache, own = (new_cache(model, "dynamic") for _ in range(2))
        logits = read(compiled, TWO, cache, [60, *[1] * 10])
        assert apart(logits, read(model, TWO, own, [60, *[1] * 10])) < 1e-5
        counts.append(counter.frame_count)
    assert counts[1] == counts[0]


def test_a_plan_is_no_new_graph() -> None:
    model, counter = dynamic(num_hidden_layers=1), CompileCounter()
    compiled = torch.compile(model, fullgraph=True, backend=counter)
    ids = TWO[:, :40]
    for length in (40, 100, 150, LONGEST):
        with rope_length(model, length):
            assert torch.equal(whole(compiled, ids), whole(model, ids))
    assert counter.frame_count == 1


def test_inductor_compiles_it() -> None:
    model = dynamic(num_hidden_layers=1)
    compiled = torch.compile(model, fullgraph=True)
    caches = [new_cache(model, "static") for _ in range(2)]
    for cache in caches:
        read(model, TWO, cache, [60])
    own = read(model, TWO[:, 60:], caches[0], [1] * 20)
    assert apart(read(compiled, TWO[:, 60:], caches[1], [1] * 20), own) < 1e-4


def test_generate_compiles_with_a_static_cache() -> None:
    model = dynamic(num_hidden_layers=1)
    settings: dict[str, Any] = {"max_new_tokens": 30, "do_sample": False, "eos_token_id": -1}
    meant = model.generate(TEXT[:, :50], **settings)
    model.forward = torch.compile(model.forward, backend="aot_eager", fullgraph=True)
    assert torch.equal(model.generate(TEXT[:, :50], cache_implementation="static", **settings), meant)


def test_a_static_caches_tensors_keep_their_addresses() -> None:
    model = dynamic()
    cache = StaticCache(config=model.config, max_cache_len=LONGEST)
    read(model, TWO, cache, [50])
    held = vars(cache)["_rope_scaling_rows"]
    before = [one.data_ptr() for one in (held.rows, held.first, held.positions, cache.layers[0].keys)]
    read(model, TWO[:, 50:], cache, [1] * 80)
    assert [one.data_ptr() for one in (held.rows, held.first, held.positions, cache.layers[0].keys)] == before


class NoHost(TorchDispatchMode):
    """Raises where this library, in a forward, reads a tensor's value or copies to the host."""

    seen = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        frame, ours = sys._getframe(1), False
        while frame is not None and not ours:
            ours = "/patches/" in frame.f_code.co_filename and "/tests/" not in frame.f_code.co_filename
            frame = frame.f_back
        if not ours:  # Transformers itself looks whether texts are packed, where it is not compiled
            return function(*args, **(kwargs or {}))
        self.seen += 1
        if function in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default):
            raise AssertionError(f"{function} waits for the device")
        out = function(*args, **(kwargs or {}))
        made = [one for one in (out if isinstance(out, (tuple, list)) else [out]) if isinstance(one, torch.Tensor)]
        given = [one for one in args if isinstance(one, torch.Tensor) and one.dim()]
        if any(one.is_meta for one in given) and any(one.device.type == "cpu" and one.dim() for one in made):
            raise AssertionError(f"{function} copies to the host")
        return out


@pytest.mark.parametrize("kind", ["none", "dynamic", "static"])
def test_on_the_meta_device_nothing_is_read_and_nothing_copied(kind: str) -> None:
    model = dynamic().to("meta")
    cache = None if kind == "none" else new_cache(model, kind)
    if cache is not None and kind == "static":
        cache.early_initialization(2, 1, 32, torch.float32, torch.device("meta"))
    at = 0
    with NoHost() as watch, torch.no_grad():
        for new in (50, 1, 1, 89) if cache is not None else (140,):
            at += new
            ids = torch.zeros(2, new, dtype=torch.int64, device="meta")
            mask = torch.zeros(2, 1, new, LONGEST if kind == "static" else at, device="meta")
            logits = model(ids, attention_mask=mask, past_key_values=cache, use_cache=cache is not None).logits
            assert logits.shape == (2, new, 97)
    assert watch.seen > 20


def test_fake_tensors_go_through() -> None:
    model = dynamic()
    with FakeTensorMode(allow_non_fake_inputs=True):
        ids = torch.zeros(2, 140, dtype=torch.int64)
        assert read(model, ids, new_cache(model, "dynamic"), [50, 1, 89]).shape == (2, 140, 97)


@pytest.mark.gpu
def test_a_gpu_gives_what_the_cpu_gives() -> None:
    model = dynamic()
    meant = read(model, TWO, new_cache(model, "dynamic"), [50, *[1] * 60])
    model.to("cuda")
    for kind in ("dynamic", "static"):
        own = read(model, TWO.to("cuda"), new_cache(model, kind), [50, *[1] * 60])
        assert apart(own.cpu(), meant) < 1e-3


@pytest.mark.gpu
def test_cuda_graphs_replay_growth() -> None:
    model = dynamic().to("cuda")
    compiled = torch.compile(model, fullgraph=True, mode="reduce-overhead")
    caches = [new_cache(model, "static") for _ in range(2)]
    ids = TWO.to("cuda")
    for cache in caches:
        read(model, ids, cache, [50])
    own = read(model, ids[:, 50:], caches[0], [1] * 80)
    parts = []
    for n in range(80):
        torch.compiler.cudagraph_mark_step_begin()
        parts.append(read(compiled, ids[:, 50 + n :], caches[1], [1]).clone())
    assert apart(torch.cat(parts, dim=1), own) < 1e-3
