"""Patched models on two processes on the CPU: DDP and FSDP2 against native twins, tensor parallelism against one."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.distributed import DistributedConfig

from rope_scaling import patch_model, unpatch_model
from tests.models import TRAINED, tiny_config, tiny_model, tokens
from tests.patches.twins import FACTOR, IDS, patched_yarn, twin_of_patched

RANKS = 2
Outcome = dict[str, Any]


def sharded(model: PreTrainedModel) -> PreTrainedModel:
    """A model whose weights lie in parts with the two processes."""
    mesh = init_device_mesh("cpu", (RANKS,))
    for layer in model.get_submodule("model.layers").children():
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    return model


@torch.no_grad()
def plain_logits(model: torch.nn.Module) -> torch.Tensor:
    out: torch.Tensor = model(IDS, use_cache=False).logits
    return out


def train(model: torch.nn.Module, rank: int) -> Outcome:
    """One step on the rank's own text: logits before, the loss, logits after."""
    before = plain_logits(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    ids = tokens(3 * TRAINED, seed=10 + rank)
    loss = model(ids, labels=ids, use_cache=False).loss
    loss.backward()
    optimizer.step()
    return {"before": before, "loss": loss.item(), "after": plain_logits(model)}


def ddp(rank: int) -> Outcome:
    """Patched inside the wrapper, through it, and undone through it."""
    inside = DistributedDataParallel(patched_yarn())
    outside = patch_model(DistributedDataParallel(tiny_model()), "yarn", factor=FACTOR)
    said = {
        "twin": train(DistributedDataParallel(twin_of_patched()), rank),
        "inside": train(inside, rank),
        "outside": train(outside, rank),
    }
    undone = unpatch_model(patch_model(DistributedDataParallel(tiny_model()), "yarn", factor=FACTOR))
    return said | {"undone": plain_logits(undone)}


def fsdp2(rank: int) -> Outcome:
    """Patched before and after sharding, and on the meta device before there are weights at all."""
    with torch.device("meta"):
        empty = AutoModelForCausalLM.from_config(tiny_config()).eval()
    late = sharded(patched_yarn(empty)).to_empty(device="cpu")
    for (name, weight), whole in zip(late.named_parameters(), tiny_model().parameters(), strict=True):
        part = whole.detach().chunk(RANKS)[rank]
        assert weight.to_local().shape == part.shape, name
        weight.to_local().detach().copy_(part)
    inside, outside = sharded(patched_yarn()), patched_yarn(sharded(tiny_model()))
    said = {
        "twin": train(sharded(twin_of_patched()), rank),
        "inside": train(inside, rank),
        "outside": train(outside, rank),
        "from meta": train(late, rank),
    }
    return said | {"undone": plain_logits(unpatch_model(patched_yarn(sharded(tiny_model()))))}


def two_headed() -> PreTrainedModel:
    """A model with a key head for each process."""
    return tiny_model(tiny_config(num_key_value_heads=RANKS))


def written(model: PreTrainedModel) -> Outcome:
    """Logits of a text past L, and what is written after it."""
    prompt = IDS[:, : TRAINED + 10]
    wrote = model.generate(prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=6, do_sample=False)
    return {"logits": plain_logits(model), "wrote": wrote}


def tensor_parallel(rank: int) -> Outcome:
    """Each process has a part of every layer's heads."""
    config = DistributedConfig(tp_plan="auto")
    with TemporaryDirectory() as folder:
        shared = [folder]
        dist.broadcast_object_list(shared)
        two_headed().save_pretrained(shared[0])  # the first process writes
        dist.barrier()
        model = AutoModelForCausalLM.from_pretrained(shared[0], distributed_config=config).eval()
        dist.barrier()
    said: Outcome = {"sharded": isinstance(model.model.layers[0].self_attn.q_proj.weight, DTensor)}
    before = plain_logits(model)
    for scheme in SCHEMES:
        said[scheme] = written(patch_model(model, scheme, factor=FACTOR))
        assert torch.equal(plain_logits(unpatch_model(model)), before), scheme
    return said


WAYS = ddp, fsdp2, tensor_parallel
SCHEMES = "yarn", "dynamic-yarn", "self-extend"


def run(rank: int, folder: str) -> None:
    """What each process does: both ways one after the other, as starting processes takes longer than either."""
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(RANKS)}
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=RANKS)
    try:
        for work in WAYS:
            torch.save(work(rank), Path(folder) / f"{work.__name__}-{rank}.pt")
    finally:
        dist.destroy_process_group()


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with what the two processes said."""
    folder = tmp_path_factory.mktemp("ranks")
    mp.spawn(run, (str(folder),), nprocs=RANKS)
    return folder


@pytest.mark.parametrize("work", [ddp, fsdp2], ids=["DDP", "FSDP2"])
def test_a_training_step_on_two_ranks_is_that_of_the_native_twin(work: Callable[[int], Outcome], told: Path) -> None:
    patched, plain = plain_logits(twin_of_patched()), plain_logits(tiny_model())
    for rank in range(RANKS):
        said = torch.load(told / f"{work.__name__}-{rank}.pt")
        assert torch.equal(said.pop("undone"), plain)
        twin = said.pop("twin")
        assert torch.equal(twin["before"], patched)
        assert not torch.allclose(twin["after"], patched, atol=1e-3), "the step did nothing"
        for how, ours in said.items():
            assert torch.equal(ours["before"], patched), how
            assert ours["loss"] == twin["loss"], how
            assert torch.equal(ours["after"], twin["after"]), how


@pytest.mark.parametrize("scheme", SCHEMES)
def test_heads_divided_between_two_ranks_write_what_one_process_writes(scheme: str, told: Path) -> None:
    alone = written(patch_model(two_headed(), scheme, factor=FACTOR))
    for rank in range(RANKS):
        said = torch.load(told / f"tensor_parallel-{rank}.pt")
        assert said["sharded"]
        torch.testing.assert_close(said[scheme]["logits"], alone["logits"], rtol=0, atol=1e-5)
        assert torch.equal(said[scheme]["wrote"], alone["wrote"])
