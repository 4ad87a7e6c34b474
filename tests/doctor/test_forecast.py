"""What each scheme would do at a length, against closed forms and against counting angles."""

from __future__ import annotations

import math

import pytest

from rope_scaling.doctor.forecast import Forecast, forecast
from rope_scaling.doctor.picture import BLOCKS, bars
from rope_scaling.doctor.summary import advice, forecasts, readable_ropes, start_of
from rope_scaling.rope import Rope
from rope_scaling.schemes import SCHEMES
from tests.doctor.cases import LLAMA, YARN, of, scaled

THETA, DIM, LENGTH = 1e4, 64, 4096
ROPE = Rope.plain(THETA, DIM, LENGTH)
SLOW = [i for i in range(DIM // 2) if 2 * math.pi * THETA ** (2 * i / DIM) > LENGTH]
"""Pairs that make no whole turn within the trained length, by the definition of a wavelength."""


def made(length: int = 4 * LENGTH) -> dict[str, Forecast]:
    return {one.scheme: one for one in forecast(ROPE, length)}


def test_unscaled_every_slow_pair_sees_new_angles_as_far_as_the_text_is_longer() -> None:
    none = made()["none"]
    assert none.extrapolated == (SLOW[0], SLOW[-1])
    assert none.overshoot == pytest.approx(4)
    assert (none.slowed, none.kept, none.interpolated) == ((1, 1), DIM // 2, 0)


def test_linear_brings_every_angle_back() -> None:
    linear = made()["linear"]
    assert (linear.extrapolated, linear.overshoot) == (None, 1)
    assert (linear.slowed, linear.kept, linear.interpolated) == ((4, 4), 0, DIM // 2)
    assert linear.nearest == 0.25


def test_ntk_slows_a_pair_by_its_share_of_the_factor() -> None:
    ntk = made()["ntk"]
    # theta' = theta · s^(d/(d−2)): pair i is slowed by s^(2i/(d−2)), from 1 to s; its largest angle grows by the rest
    assert ntk.slowed == pytest.approx((1, 4))
    assert ntk.extrapolated == (SLOW[0], DIM // 2 - 2)
    assert ntk.overshoot == pytest.approx(4 / 4 ** (2 * SLOW[0] / (DIM - 2)))


def test_yarn_multiplies_attention_as_its_paper_says() -> None:
    assert made()["yarn"].attention_factor == pytest.approx(0.1 * math.log(4) + 1)
    assert made()["yarn"].extrapolated is None


@pytest.mark.parametrize("length", [2 * LENGTH, 32 * LENGTH])
@pytest.mark.parametrize("name", ["none", "linear", "ntk", "ntk-by-parts", "yarn", "llama3"])
def test_new_angles_are_those_that_counting_finds(name: str, length: int) -> None:
    one = made(length)[name]
    scheme = SCHEMES[name]() if name == "none" else SCHEMES[name](length / LENGTH)  # type: ignore[call-arg]
    new = []
    for pair, (f, g) in enumerate(zip(ROPE.inv_freq, scheme(ROPE).inv_freq, strict=True)):
        trained = {int(200 * (p * f / (2 * math.pi) % 1)) for p in range(LENGTH + 1)}  # 200 sectors of a turn
        seen = {int(200 * (p * g / (2 * math.pi) % 1)) for p in range(0, length, max(1, length // 4096))}
        if f * LENGTH < 2 * math.pi * 0.9 and len(seen - trained) > 1:  # a sector on the edge does not count
            new.append(pair)
    if one.extrapolated is None:
        assert new == []
    else:
        assert set(new) <= set(range(one.extrapolated[0], one.extrapolated[1] + 1))
        assert len(new) >= (one.extrapolated[1] - one.extrapolated[0]) // 2


def test_a_length_within_the_trained_one_is_refused() -> None:
    with pytest.raises(ValueError, match="above the trained length"):
        forecast(ROPE, LENGTH)


def test_a_scaled_checkpoint_is_scaled_on_from_the_length_that_it_declares() -> None:
    facts = of(scaled(YARN), wished=32768)
    (rope,) = readable_ropes(facts).values()
    assert start_of(facts, rope).original_max_position_embeddings == 16384
    told = {one.scheme: one for one in forecasts(facts, rope)}
    assert told["linear"].slowed == pytest.approx((2, 2))
    assert told["none"].attention_factor == pytest.approx(0.1 * math.log(4) + 1)


def test_nothing_is_forecast_unasked_or_for_a_length_within() -> None:
    for wished in (None, 4096, 1):
        facts = of(LLAMA, wished=wished)
        assert forecasts(facts, next(iter(readable_ropes(facts).values()))) == []


def test_the_picture_rises_with_the_wavelengths_and_marks_the_slow_pairs() -> None:
    drawn, below, told = bars(ROPE)
    assert len(drawn) == len(below) == DIM // 2
    assert [BLOCKS.index(mark) for mark in drawn] == sorted(BLOCKS.index(mark) for mark in drawn)
    assert below == "|" * SLOW[0] + "o" * len(SLOW)
    assert f"o {len(SLOW)} never do" in told


@pytest.mark.parametrize(("dim", "width"), [(2, 80), (128, 40), (512, 76), (64, 1)])
def test_the_picture_fits_any_width(dim: int, width: int) -> None:
    drawn, below, _ = bars(Rope.plain(1e6, dim, 4096), width)
    assert len(drawn) == len(below) == min(dim // 2, width, 64)


def test_the_advice_is_a_call_that_can_be_made() -> None:
    told = advice(of(LLAMA, wished=8192))
    assert told is not None
    assert 'patch_model(model, "self-extend", max_length=8192)' in told
    assert "extend CHECKPOINT --scheme yarn --max-length 8192 --for all" in told
    scaled_on = advice(of(scaled(YARN), wished=32768))
    assert scaled_on is not None
    assert 'max_length=32768, on_scaled="compose")' in scaled_on
    assert "--on-scaled compose" in scaled_on


def test_there_is_no_advice_for_a_length_within() -> None:
    assert advice(of(LLAMA, wished=4096)) is None
    assert advice(of(LLAMA)) is None
