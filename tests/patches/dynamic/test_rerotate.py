"""The operator that rotates cached keys anew: against the rotation itself in float64, on every implementation."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from rope_scaling.patches.dynamic import rerotate as module
from rope_scaling.patches.dynamic.rerotate import rerotate

HEADS, SLOTS, DIMS, PAIRS, GRID = 2, 150, 24, 8, 5


@dataclass(frozen=True)
class Case:
    """How keys lie."""

    start: int = 0
    interleaved: bool = False
    sense: int = 1
    axes: bool = False
    residual: bool = False
    dtype: torch.dtype = torch.float32


CASES = [
    Case(),
    Case(start=DIMS - 2 * PAIRS, interleaved=True),
    Case(sense=-1, start=3),
    Case(axes=True),
    Case(dtype=torch.bfloat16, residual=True),
    Case(dtype=torch.float16, residual=True, interleaved=True),
    Case(dtype=torch.float64),
]


def inputs(case: Case) -> dict[str, Any]:
    """Three rows: one that grows, one that stays, one that has not begun."""
    drawn = torch.Generator().manual_seed(0)
    keys = torch.randn(3, HEADS, SLOTS, DIMS, generator=drawn, dtype=torch.float64).to(case.dtype)
    positions = torch.randint(0, 5000, (3 if case.axes else 1, 3, SLOTS), generator=drawn)
    return {
        "keys": keys,
        "residual": torch.zeros_like(keys) if case.residual else None,
        "positions": positions,
        "old": torch.tensor([1, 2, -1]),
        "new": torch.tensor([4, 2, 3]),
        "inv_freq": torch.rand(GRID, PAIRS, generator=drawn),
        "factors": torch.rand(GRID, generator=drawn) + 0.5,
        "axes": torch.tensor([0, 1, 2, 0, 1, 2, 0, 1]) if case.axes else None,
        "start": case.start,
        "interleaved": case.interleaved,
        "sense": case.sense,
    }


def meant(case: Case) -> Tensor:
    """The keys of the first row turned pair by pair with complex numbers, float64."""
    given = inputs(case)
    keys = given["keys"].double()
    for pair in range(PAIRS):
        at = given["positions"][given["axes"][pair] if case.axes else 0, 0].float()
        angle = (at * given["inv_freq"][4, pair]).double() - (at * given["inv_freq"][1, pair]).double()
        one = case.start + (2 * pair if case.interleaved else pair)
        other = one + (1 if case.interleaved else PAIRS)
        ratio = given["factors"][4].double() / given["factors"][1].double()
        turned = torch.complex(keys[0, ..., one], keys[0, ..., other]) * torch.polar(ratio, case.sense * angle)
        keys[0, ..., one], keys[0, ..., other] = turned.real, turned.imag
    return keys


def check(case: Case, given: dict[str, Any]) -> None:
    tolerance = {torch.float64: 1e-12, torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 2e-2}[case.dtype]
    before, exact = inputs(case)["keys"], meant(case)
    assert (given["keys"].double() - exact).abs().max() < tolerance
    assert torch.equal(given["keys"][1:], before[1:])
    if case.residual:
        assert (given["keys"].double() + given["residual"].double() - exact).abs().max() < tolerance / 50


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_operator_turns_the_row_that_has_grown_and_no_other(case: Case) -> None:
    given = inputs(case)
    rerotate(**given)
    check(case, given)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_so_does_the_way_that_waits_for_no_device(case: Case) -> None:
    given = inputs(case)
    module._by_torch(*given.values())
    check(case, given)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_there_and_back_is_nothing(case: Case) -> None:
    given = inputs(replace(case, residual=case.dtype in (torch.bfloat16, torch.float16)))
    before = given["keys"].clone()
    rerotate(**given)
    rerotate(**given | {"old": given["new"], "new": given["old"].clamp(min=0)})
    tolerance = {torch.float64: 1e-12, torch.float32: 1e-5, torch.float16: 1e-3, torch.bfloat16: 4e-3}[case.dtype]
    assert (given["keys"][:2].double() - before[:2].double()).abs().max() < tolerance


def test_the_operator_keeps_torchs_promises() -> None:
    given = inputs(CASES[0])
    torch.library.opcheck(torch.ops.rope_scaling.rerotate.default, tuple(given.values()))


def test_the_kernel_is_the_operator_in_tritons_interpreter() -> None:
    pytest.importorskip("triton", reason="Triton has wheels for Linux only")
    code = (
        "import torch, tests.patches.dynamic.test_rerotate as t\n"
        "from rope_scaling.patches.dynamic.kernel import launch\n"
        "for case in t.CASES:\n"
        "    given = t.inputs(case); launch(*given.values()); t.check(case, given)\n"
        "print('as the operator', len(t.CASES))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "TRITON_INTERPRET": "1"}, capture_output=True, text=True
    )
    assert done.stdout.strip() == f"as the operator {len(CASES)}", done.stderr


@pytest.mark.parametrize("capability", [80, 90])
def test_the_kernel_compiles_for_gpus_that_are_not_here(capability: int) -> None:
    triton = pytest.importorskip("triton", reason="Triton has wheels for Linux only")
    from triton.backends.compiler import GPUTarget

    from rope_scaling.patches.dynamic.kernel import rerotate_kernel

    pointers = dict.fromkeys(("keys", "residual"), "*bf16") | dict.fromkeys(("positions", "old", "new", "axes"), "*i64")
    pointers |= dict.fromkeys(("inv_freq", "factors"), "*fp32")
    constants = {"HAS_REST": True, "HAS_AXES": True, "INTERLEAVED": False, "PAIRS": 64, "SLOTS": 64}
    constants["WIDE"] = triton.language.float32
    names = [name for name in rerotate_kernel.arg_names if name not in constants]
    signature = {name: pointers.get(name, "i32") for name in names} | dict.fromkeys(constants, "constexpr")
    source = triton.compiler.ASTSource(fn=rerotate_kernel, signature=signature, constexprs=constants)
    compiled = triton.compile(source, target=GPUTarget("cuda", capability, 32))
    assert f"sm_{capability}" in compiled.asm["ptx"]
    assert len(compiled.asm["cubin"]) > 1000


@pytest.mark.gpu
@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_gpu_turns_them_too(case: Case) -> None:
    given = {k: v.to("cuda") if isinstance(v, Tensor) else v for k, v in inputs(case).items()}
    rerotate(**given)
    check(case, {k: v.cpu() if isinstance(v, Tensor) else v for k, v in given.items()})
