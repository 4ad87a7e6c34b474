"""Each kernel against attention written down: what it hands on, its logarithm, its gradients by the whole's."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from rope_scaling.patches.remap.engine import attend, by_hand, kernels
from rope_scaling.patches.remap.engine.part import Part
from tests.patches.remap.engine_cases import BANDS, CLOSE, case

SEEN = [False, True, "strip"]


def vectors(seen: object, value_dims: int, heads: tuple[int, int], device: str = "cpu") -> list[Tensor]:
    random = torch.Generator().manual_seed(0)
    keys = 37 if seen is not False else 50
    shapes = ((2, heads[0], 37, 16), (2, heads[1], keys, 16), (2, heads[1], keys, value_dims))
    return [torch.randn(shape, generator=random).to(device) for shape in shapes]


def mask(seen: object) -> Tensor | bool:
    if seen == "strip":
        distance = torch.arange(37)[:, None] - torch.arange(37)
        return (distance >= 0) & (distance < 5)
    return bool(seen)


def written_down(query: Tensor, key: Tensor, value: Tensor, seen: Tensor | bool) -> tuple[Tensor, Tensor]:
    key, value = (one.repeat_interleave(query.shape[1] // key.shape[1], dim=1) for one in (key, value))
    scores = query @ key.mT * 0.3
    if seen is not False:
        allowed = seen if isinstance(seen, Tensor) else torch.ones(37, 37).tril().bool()
        scores = scores.masked_fill(~allowed, -torch.inf)
    return scores.softmax(-1) @ value, scores.logsumexp(-1)


@pytest.mark.parametrize("seen", SEEN)
@pytest.mark.parametrize("value_dims", [16, 8, 24])
@pytest.mark.parametrize("heads", [(2, 2), (6, 2)])
@pytest.mark.parametrize("name", ["cpu", "older cpu", "by hand"])
def test_a_kernel_is_attention_and_knows_its_sum(
    seen: object, value_dims: int, heads: tuple[int, int], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(by_hand, "_SCORES", 37 * 50 * heads[0] * 2 // 3)  # several rounds
    monkeypatch.setitem(kernels._SHARE_KEYS, "cpu", name == "cpu")
    if name == "by hand":
        monkeypatch.setattr(kernels, "kernel_of", lambda *_: name)
    given = vectors(seen, value_dims, heads)
    found = kernels.forward(*given, mask(seen), 0.3)
    leaves = [one.double().requires_grad_() for one in given]
    out, lse = written_down(*leaves, mask(seen))
    torch.testing.assert_close(found.out.double(), out, rtol=0, atol=CLOSE)
    torch.testing.assert_close(found.lse.double(), lse, rtol=0, atol=CLOSE)
    grad = torch.randn(out.shape, generator=torch.Generator().manual_seed(1))
    (out * grad).sum().backward()
    gradients = kernels.backward(grad, *given, Part(found.out, found.lse), mask(seen), 0.3)
    for one, leaf in zip(gradients, leaves, strict=True):
        torch.testing.assert_close(one.double(), leaf.grad, rtol=0, atol=CLOSE)


def test_the_cpu_has_its_kernel_and_other_devices_have_one_by_hand() -> None:
    given = vectors(True, 16, (2, 2))
    assert kernels.kernel_of(*given, True) == "cpu"
    assert kernels.kernel_of(*given, mask("strip")) == "by hand"
    assert kernels.kernel_of(*(one.to("meta") for one in given), True) == "by hand"


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("seen", SEEN)
@pytest.mark.parametrize("value_dims", [16, 8])
@pytest.mark.parametrize("heads", [(2, 2), (6, 2)])
def test_kernels_of_a_gpu_are_attention(
    dtype: torch.dtype, seen: object, value_dims: int, heads: tuple[int, int]
) -> None:
    given = [one.to(dtype) for one in vectors(seen, value_dims, heads, "cuda")]
    held = mask(seen).cuda() if seen == "strip" else mask(seen)  # type: ignore[union-attr]
    if seen != "strip":
        assert kernels.kernel_of(*given, held) == ("flash" if dtype == torch.bfloat16 else "efficient")
    close = CLOSE if dtype == torch.float32 else 0.03
    found = kernels.forward(*given, held, 0.3)
    leaves = [one.double().cpu().requires_grad_() for one in given]
    out, lse = written_down(*leaves, mask(seen))
    torch.testing.assert_close(found.out.double().cpu(), out, rtol=0, atol=close)
    torch.testing.assert_close(found.lse.double().cpu(), lse, rtol=0, atol=close)
    grad = torch.randn(out.shape, generator=torch.Generator().manual_seed(1))
    (out * grad).sum().backward()
    gradients = kernels.backward(grad.to(found.out), *given, Part(found.out, found.lse), held, 0.3)
    for one, leaf in zip(gradients, leaves, strict=True):
        torch.testing.assert_close(one.double().cpu(), leaf.grad, rtol=0, atol=10 * close)


@pytest.mark.gpu
@pytest.mark.parametrize("name", BANDS)
def test_attention_on_a_gpu_is_the_reference(name: str) -> None:
    given = case(45 if "string" in name else 301)
    pairs = type(given.pairs)(given.pairs.inv_freq.cuda())
    ours = attend(given.query.cuda(), given.key.cuda(), given.value.cuda(), BANDS[name], pairs)
    assert (ours.cpu() - given.reference(BANDS[name])).abs().max() <= CLOSE
