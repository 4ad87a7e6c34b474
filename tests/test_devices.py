"""Nothing is read back to the host, and on a GPU the numbers are those of the CPU."""

from __future__ import annotations

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from rope_scaling import Rope, apply_rotary, patch_model, rotary_cos_sin, unpatch_model
from rope_scaling.eval.perplexity import token_nll
from tests.models import ARCHITECTURES, TRAINED, logits, tiny_model, tokens
from tests.patches.state import rotary

SCHEMES = ["linear", "ntk", "yarn", "ntk-by-parts", "llama3"]


class OnlyOn(TorchDispatchMode):
    """Fails where an operation makes a tensor on another device than `device`."""

    def __init__(self, device: str) -> None:
        super().__init__()
        self.device = device

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        out = func(*args, **(kwargs or {}))
        for one in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(one, torch.Tensor):
                assert one.device.type == self.device, f"{func} made a tensor on {one.device}"
        return out


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("model_type", ARCHITECTURES)
def test_what_is_patched_stays_on_its_device_and_reads_no_number_back(model_type: str, scheme: str) -> None:
    # on the meta device there is no number: whatever asks for one raises (Transformers' own masks do, patched or not)
    module = rotary(patch_model(tiny_model(model_type), scheme, factor=4).to("meta"))
    positions = torch.arange(3 * TRAINED, device="meta")[None]
    with OnlyOn("meta"):
        cos, sin = module(torch.empty(1, 3 * TRAINED, 8, device="meta"), positions)
    assert cos.shape[:2] == sin.shape[:2] == (1, 3 * TRAINED)


@pytest.mark.gpu
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("model_type", ARCHITECTURES)
def test_a_model_patched_on_the_gpu_is_the_one_patched_on_the_cpu(model_type: str, scheme: str) -> None:
    here = patch_model(tiny_model(model_type), scheme, factor=4)
    there = patch_model(tiny_model(model_type).cuda(), scheme, factor=4)
    assert torch.equal(rotary(there).get_buffer("inv_freq").cpu(), rotary(here).get_buffer("inv_freq"))
    assert torch.allclose(logits(there, tokens().cuda()).cpu(), logits(here), atol=1e-3)
    assert rotary(here.cuda().bfloat16()).get_buffer("inv_freq").dtype == torch.float32
    unpatched = unpatch_model(there)
    assert rotary(unpatched).get_buffer("inv_freq").is_cuda


@pytest.mark.gpu
def test_far_angles_are_right_on_the_gpu() -> None:
    rope = Rope.plain(1e4, 128, 4096)
    positions = torch.arange(2**20 - 4096, 2**20)
    cos, sin = rotary_cos_sin(positions.cuda(), rope)
    angles = positions.double()[:, None] * torch.tensor(rope.inv_freq, dtype=torch.float64)
    assert (cos.cpu() - angles.cos()).abs().max() < 1e-6
    assert (sin.cpu() - angles.sin()).abs().max() < 1e-6
    assert apply_rotary(torch.randn(4096, 128, device="cuda"), cos, sin).is_cuda


@pytest.mark.gpu
def test_scoring_on_the_gpu_gives_the_scores_of_the_cpu() -> None:
    model, ids = patch_model(tiny_model(), "yarn", factor=4), tokens(200)[0]
    here = token_nll(model, ids, chunk=64)
    assert torch.allclose(token_nll(model.cuda(), ids, chunk=64), here, atol=1e-3)
