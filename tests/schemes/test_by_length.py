"""Dynamic scaling as a value: which s a length gets, its name, its options, and what cannot be dynamic."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rope_scaling import NTK, DynamicScaling, Linear, LongRoPE, Rope, SelfExtend, YaRN, parse_scheme
from rope_scaling.schemes import ABF, Dynamic, NoScaling, make_scheme, scheme_options

ROPE = Rope.plain(1e4, 64, 4096)


@given(st.integers(min_value=1, max_value=4096))
def test_within_the_trained_length_nothing_changes(length: int) -> None:
    scaled = DynamicScaling(YaRN(4.0))(ROPE, length)
    assert scaled.inv_freq == ROPE.inv_freq
    assert scaled.attention_factor == 1.0


@given(st.integers(min_value=4097, max_value=4 * 4096))
def test_past_it_s_is_the_length_over_the_trained_length(length: int) -> None:
    s = length / 4096
    ntk = DynamicScaling(NTK(4.0))(ROPE, length).inv_freq
    assert ntk[-1] == pytest.approx((1e4 * s ** (64 / 62)) ** (-62 / 64), rel=1e-12)  # bloc97's theta'
    assert DynamicScaling(Linear())(ROPE, length).inv_freq[0] == pytest.approx(1 / s, rel=1e-12)
    assert DynamicScaling(YaRN(4.0))(ROPE, length).attention_factor == pytest.approx(0.1 * math.log(s) + 1, rel=1e-12)


def test_the_factor_is_the_most() -> None:
    assert DynamicScaling(Linear(4.0))(ROPE, 10**6) == Linear(4.0)(ROPE)
    assert DynamicScaling(Linear())(ROPE, 4096 * 100).inv_freq[0] == pytest.approx(0.01)


def test_a_longrope_checkpoint_has_its_short_list_within_the_trained_length() -> None:
    short, long = [1.0 + 0.01 * i for i in range(32)], [2.0 + 0.1 * i for i in range(32)]
    scheme = DynamicScaling(LongRoPE(long, short, factor=8.0))
    assert scheme(ROPE, 4096).inv_freq == tuple(f / x for f, x in zip(ROPE.inv_freq, short, strict=True))
    assert scheme(ROPE, 4097).inv_freq == tuple(f / x for f, x in zip(ROPE.inv_freq, long, strict=True))


@pytest.mark.parametrize("name", ["linear", "ntk", "ntk-by-parts", "yarn", "yarn-turns", "llama3"])
def test_every_scheme_with_a_factor_has_a_dynamic_name(name: str) -> None:
    scheme = parse_scheme(f"dynamic-{name}:factor=4,growth=1.5")
    assert scheme == DynamicScaling(make_scheme(name, {"factor": 4}), growth=1.5)
    assert scheme.name == f"dynamic-{name}"
    assert make_scheme(scheme.name, scheme_options(scheme)) == scheme


def test_growth_at_its_default_is_no_option() -> None:
    assert scheme_options(DynamicScaling(YaRN(2.0))) == {"factor": 2.0}


@pytest.mark.parametrize("scheme", [NoScaling(), ABF(1e6), Dynamic()])
def test_what_does_not_follow_from_the_length_cannot_be_dynamic(scheme: object) -> None:
    with pytest.raises(ValueError, match="cannot be dynamic: its frequencies do not follow from the length"):
        DynamicScaling(scheme)  # type: ignore[arg-type]


def test_a_scheme_that_moves_positions_needs_no_dynamic_scaling() -> None:
    with pytest.raises(ValueError, match="'self-extend' needs no dynamic scaling: it leaves texts within L alone"):
        DynamicScaling(SelfExtend(4.0))


def test_a_dynamic_scheme_of_nothing_is_a_type_error() -> None:
    with pytest.raises(TypeError, match=r"a scheme such as YaRN\(\), got 'yarn'"):
        DynamicScaling("yarn")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="a scheme such as"):
        DynamicScaling(DynamicScaling(YaRN()))


@pytest.mark.parametrize("growth", [1, 0.5, math.inf, "two"])
def test_growth_must_be_above_one(growth: object) -> None:
    with pytest.raises(ValueError, match="growth must be"):
        DynamicScaling(YaRN(), growth=growth)  # type: ignore[arg-type]


def test_a_misspelt_dynamic_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"unknown scheme 'dynamic-yran': did you mean 'dynamic-yarn'\?"):
        parse_scheme("dynamic-yran")
    with pytest.raises(ValueError, match="has no option 'beta_fas'"):
        parse_scheme("dynamic-yarn:beta_fas=1")
