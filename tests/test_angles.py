"""cos and sin of far positions, against float64 and against exact arithmetic."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from rope_scaling.angles import TURN, cos_sin_of_turns, fixed_point_turns, rotary_cos_sin
from rope_scaling.rope import Rope, ScaledRope, plain_inv_freq
from rope_scaling.schemes import YaRN

FAR = 2**20
BOUND = 1e-6
PI = Fraction("3.14159265358979323846264338327950288419716939937510582097494459230781640628620899")


def error(positions: Tensor, inv_freq: tuple[float, ...]) -> float:
    """The largest error of cos and sin against products in float64, which are right to 2^-53 of an angle below 2^20."""
    cos, sin = rotary_cos_sin(positions, inv_freq)
    angles = positions.double()[..., None] * torch.tensor(inv_freq, dtype=torch.float64)
    return max((cos - angles.cos()).abs().max().item(), (sin - angles.sin()).abs().max().item())


def plain_error(positions: Tensor, inv_freq: tuple[float, ...]) -> float:
    angles = positions[..., None] * torch.tensor(inv_freq, dtype=torch.float64)
    return ((positions.float()[..., None] * torch.tensor(inv_freq)).cos() - angles.cos()).abs().max().item()


def nearest_to_half_a_turn(inv_freq: tuple[float, ...]) -> Tensor:
    """For each pair the position up to 2^20 whose angle is the largest that float32 has to round."""
    positions = torch.arange(FAR + 1, dtype=torch.float64)
    fractions = ((positions * f / (2 * math.pi)).frac() for f in inv_freq)
    return torch.stack([(fraction - 0.5).abs().argmin() for fraction in fractions])


@pytest.mark.parametrize("rotary_dim", [2, 64, 96])
def test_cos_and_sin_are_right_before_position_zero_and_after_2_to_the_20(rotary_dim: int) -> None:
    random = torch.randint(-FAR, 4 * FAR, (20_000,), generator=torch.Generator().manual_seed(0))
    powers = torch.tensor([sign * 2**k + off for k in range(23) for off in (-1, 0, 1) for sign in (-1, 1)])
    assert error(torch.cat([random, powers]), plain_inv_freq(1e6, rotary_dim)) < BOUND


def test_cos_and_sin_are_right_where_the_angle_is_hardest_to_round() -> None:
    inv_freq = plain_inv_freq(1e4, 64)
    assert error(nearest_to_half_a_turn(inv_freq), inv_freq) < BOUND


@pytest.mark.parametrize("theta", [5e5, *(pytest.param(theta, marks=pytest.mark.slow) for theta in (1e4, 1e7))])
def test_cos_and_sin_are_right_to_a_millionth_at_every_position_up_to_2_to_the_20(theta: float) -> None:
    inv_freq = plain_inv_freq(theta, 128)  # every other one is that of rotary_dim 64
    assert max(error(positions, inv_freq) for positions in torch.arange(FAR + 1).split(2**14)) < BOUND


def test_a_float32_product_is_wrong_by_more_than_a_hundredth_there() -> None:
    inv_freq = plain_inv_freq(1e4, 128)
    assert plain_error(torch.arange(FAR - 2000, FAR), inv_freq) > 1e-2


@given(position=st.integers(-(2**30), 2**30), frequency=st.floats(1e-10, 1.0))
def test_cos_and_sin_agree_with_exact_arithmetic_even_at_2_to_the_30(position: int, frequency: float) -> None:
    turns = Fraction(frequency) * position / (2 * PI)
    angle = float((turns - round(turns)) * 2 * PI)
    cos, sin = rotary_cos_sin(torch.tensor(position), [frequency])
    assert cos.item() == pytest.approx(math.cos(angle), abs=BOUND)
    assert sin.item() == pytest.approx(math.sin(angle), abs=BOUND)


@pytest.mark.parametrize("factor", [2, 3.7, 32])
def test_interpolated_positions_are_right_as_far_as_float32_holds_them(factor: float) -> None:
    positions = torch.arange(0, FAR, 53) / factor  # arXiv 2306.15595: p / s
    assert error(positions, plain_inv_freq(1e4, 128)) < BOUND


def test_coordinates_between_minus_one_and_one_are_right() -> None:
    inv_freq = tuple(2 * math.pi * f for f in plain_inv_freq(100.0, 64))  # those of DINOv3
    assert error(torch.linspace(-1, 1, 4001), inv_freq) < BOUND


def test_float64_positions_get_float64_values() -> None:
    positions = torch.rand(2000, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * FAR
    assert rotary_cos_sin(positions, plain_inv_freq(1e4, 64))[0].dtype == torch.float64
    assert error(positions, plain_inv_freq(1e4, 64)) < 2e-9


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.int64, torch.float16, torch.bfloat16, torch.float32])
def test_every_dtype_of_positions_gives_the_same_float32_values(dtype: torch.dtype) -> None:
    positions = torch.arange(200)
    tables = rotary_cos_sin(positions, [1.0, 0.1]), rotary_cos_sin(positions.to(dtype), [1.0, 0.1])
    for value, same in zip(*tables, strict=True):
        assert same.dtype == torch.float32
        assert torch.equal(value, same)


def test_at_position_zero_cos_is_one_and_sin_zero_bit_for_bit() -> None:
    cos, sin = rotary_cos_sin(torch.zeros(3, dtype=torch.int64), Rope.plain(1e4, 64, 4096))
    assert torch.equal(cos, torch.ones(3, 32))
    assert torch.equal(sin, torch.zeros(3, 32))


def test_shapes_follow_the_positions() -> None:
    for shape in ((), (7,), (2, 3, 5), (0,)):
        cos, sin = rotary_cos_sin(torch.zeros(shape, dtype=torch.int64), [1.0, 0.5])
        assert cos.shape == sin.shape == (*shape, 2)


def test_the_attention_factor_multiplies_cos_and_sin() -> None:
    rope = Rope.plain(1e4, 64, 4096)
    scaled = YaRN(4.0)(rope)
    positions = torch.arange(100)
    for value, plain in zip(rotary_cos_sin(positions, scaled), rotary_cos_sin(positions, scaled.inv_freq), strict=True):
        assert torch.equal(value, plain * scaled.attention_factor)


def test_a_rope_its_scaled_form_and_its_frequencies_say_the_same() -> None:
    rope = Rope.plain(5e5, 32, 4096)
    positions = torch.arange(1000)
    cos = rotary_cos_sin(positions, rope)[0]
    assert torch.equal(cos, rotary_cos_sin(positions, ScaledRope(rope.inv_freq, 1.0))[0])
    assert torch.equal(cos, rotary_cos_sin(positions, list(rope.inv_freq))[0])


def test_gradients_reach_positions_that_are_learned() -> None:
    positions = torch.tensor([0.3, -7.5, 1000.25], dtype=torch.float64, requires_grad=True)
    inv_freq = torch.tensor(plain_inv_freq(1e4, 16), dtype=torch.float64)
    cos, sin = rotary_cos_sin(positions, inv_freq.tolist())
    (gradient,) = torch.autograd.grad(cos.sum(), positions)
    assert torch.allclose(gradient, -(sin * inv_freq).sum(-1))


def test_the_meta_device_and_one_whole_graph_will_do() -> None:
    rope = Rope.plain(1e4, 64, 4096)
    cos, _ = rotary_cos_sin(torch.arange(5, device="meta"), rope)
    assert cos.device.type == "meta"
    assert cos.shape == (5, 32)
    torch.compiler.reset()
    compiled = torch.compile(rotary_cos_sin, fullgraph=True, backend="aot_eager")
    for other in (rope, Rope.plain(5e5, 64, 4096), YaRN(2.0)(rope)):
        for positions in (torch.arange(5), torch.arange(FAR, FAR + 9), torch.arange(7) / 3):
            assert torch.equal(compiled(positions, other)[0], rotary_cos_sin(positions, other)[0])


@pytest.mark.slow
def test_generated_code_is_as_exact() -> None:
    torch.compiler.reset()
    inv_freq = plain_inv_freq(1e4, 64)
    positions = torch.arange(FAR - 4000, FAR)
    cos, _ = torch.compile(rotary_cos_sin, fullgraph=True)(positions, inv_freq)
    angles = positions.double()[:, None] * torch.tensor(inv_freq, dtype=torch.float64)
    assert (cos - angles.cos()).abs().max() < BOUND


def test_fixed_point_turns_survive_a_module_that_becomes_bfloat16() -> None:
    module = nn.Module()
    module.turns = nn.Buffer(fixed_point_turns([plain_inv_freq(1e4, 64)]), persistent=False)
    positions = torch.arange(FAR - 100, FAR)[:, None]
    before = cos_sin_of_turns(positions, module.turns)
    after = cos_sin_of_turns(positions, module.to(torch.bfloat16).turns)
    assert torch.equal(before[0], after[0])


@given(frequency=st.floats(-100.0, 100.0))
def test_fixed_point_turns_hold_a_frequency_to_2_to_the_minus_53(frequency: float) -> None:
    high, low = fixed_point_turns([[frequency]]).flatten().tolist()
    assert 0 <= low <= TURN
    turns = Fraction(high, TURN) + Fraction(low, TURN**2)
    assert abs(turns - Fraction(frequency) / (2 * PI)) <= abs(turns) * Fraction(2, 2**53) + Fraction(1, TURN**2)


def test_a_tensor_of_frequencies_is_refused() -> None:
    with pytest.raises(TypeError, match=r"tolist\(\) once"):
        rotary_cos_sin(torch.arange(3), torch.ones(4))  # type: ignore[arg-type]


def test_positions_that_are_no_numbers_are_refused() -> None:
    for dtype in (torch.bool, torch.complex64):
        with pytest.raises(TypeError, match=f"got {dtype}"):
            rotary_cos_sin(torch.zeros(3, dtype=dtype), [1.0])


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_a_frequency_that_is_not_finite_is_refused(wrong: float) -> None:
    with pytest.raises(ValueError, match="inv_freq must be finite"):
        rotary_cos_sin(torch.arange(3), [1.0, wrong])
