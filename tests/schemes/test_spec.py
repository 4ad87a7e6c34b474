"""Schemes by name and from text, and what bad input is told."""

from __future__ import annotations

import math
from typing import Any

import pytest

from rope_scaling.rope import Rope
from rope_scaling.schemes import (
    ABF,
    NTK,
    SCHEMES,
    Linear,
    LongRoPE,
    SelfExtend,
    YaRN,
    make_scheme,
    parse_scheme,
    scheme_options,
)
from rope_scaling.schemes.factor import resolve_factor

ROPE = Rope.plain(1e4, 64, 4096)


def test_a_spec_is_a_scheme() -> None:
    assert parse_scheme("ntk") == NTK()
    assert parse_scheme("yarn:factor=4,beta_fast=16,truncate=false") == YaRN(4, beta_fast=16, truncate=False)
    assert parse_scheme("longrope:long_factor=[1, 1.5, 2],factor=2") == LongRoPE([1, 1.5, 2], factor=2)


@pytest.mark.parametrize("scheme", [YaRN(4, beta_fast=16.0), ABF(5e5, factor=2.0), LongRoPE([1.0, 2.0]), Linear()])
def test_options_rebuild_the_scheme(scheme: Any) -> None:
    assert make_scheme(scheme.name, scheme_options(scheme)) == scheme


def test_a_misspelt_name_is_answered_with_the_nearest_and_all_names() -> None:
    with pytest.raises(ValueError, match=r"unknown scheme 'nkt': did you mean 'ntk'\? \(none, linear, ntk, "):
        make_scheme("nkt")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("yarn:beta_fas=16", "has no option 'beta_fas': did you mean 'beta_fast'"),
        ("yarn:factor", "cannot read 'factor'"),
        ("yarn:factor=x", "cannot read the value 'x'"),
        ("yarn:factor=2,factor=4", "given twice"),
        ("yarn:factor=0.5", "at least 1"),
        ("yarn:factor=NaN", "finite"),
        ("yarn:factor=Infinity", "finite"),
        ('yarn:factor="4"', "got '4'"),
        ("yarn:factor=true", "got True"),
        ("yarn:beta_fast=1,beta_slow=1", "beta_fast must be above beta_slow"),
        ("llama3:low_freq_factor=4,high_freq_factor=1", "high_freq_factor must be above low_freq_factor"),
        ("abf", "needs theta"),
        ("abf:theta=-1", "theta must be a finite number above 0"),
        ("longrope:long_factor=[1,0]", r"long_factor\[...\] must be"),
        ("longrope:long_factor=2", "long_factor must be a list"),
        ("yarn:truncate=1", "truncate must be true or false, got 1"),
        ("", "unknown scheme ''"),
    ],
)
def test_a_bad_spec_is_told_what_is_wrong(spec: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_scheme(spec)


def test_a_scheme_class_is_not_a_scheme() -> None:
    with pytest.raises(TypeError, match="a value such as YaRN"):
        make_scheme(YaRN)  # type: ignore[arg-type]


def test_options_that_do_not_fit_a_rope_are_refused() -> None:
    with pytest.raises(ValueError, match="at least the trained one"):
        ABF(theta=100.0)(ROPE)
    with pytest.raises(ValueError, match=r"must hold rotary_dim / 2 = 32 divisors, got 2"):
        LongRoPE([1.0, 2.0], factor=2)(ROPE)
    with pytest.raises(ValueError, match="rotary_dim above 2"):
        NTK(2)(Rope.plain(1e4, 2, 4096))


@pytest.mark.parametrize("factor", [0.5, -1, 0, math.nan, math.inf, "2", True])
@pytest.mark.parametrize("name", sorted(set(SCHEMES) - {"abf", "longrope"}))
def test_an_impossible_factor_is_refused_by_every_scheme(name: str, factor: Any) -> None:
    with pytest.raises(ValueError, match="factor must be a finite number of at least 1"):
        make_scheme(name, {"factor": factor})


def test_factor_and_max_length_mean_the_same() -> None:
    assert resolve_factor(ROPE, None) == 2
    assert resolve_factor(ROPE, None, max_length=16384) == 4
    assert resolve_factor(ROPE, 4.0, max_length=16384) == 4


@pytest.mark.parametrize(
    ("given", "factor", "max_length", "message"),
    [
        (4.0, 2.0, None, "contradicting factors: the scheme's factor = 4.0, factor = 2.0"),
        (None, 2.0, 16384, "contradicting factors: factor = 2.0, max_length / trained length = 4.0"),
        (None, None, 100, "at least the trained length 4096, got 100"),
        (None, None, 8192.0, "must be an integer"),
        (None, 0.5, None, "at least 1"),
    ],
)
def test_contradicting_lengths_are_refused(given: Any, factor: Any, max_length: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        resolve_factor(ROPE, given, factor, max_length)


@pytest.mark.parametrize("written", ["ntk:factor=2", '"ntk:factor=2"', " ntk:factor=2 "])
def test_text_needs_no_quotes(written: str) -> None:
    told = parse_scheme(f"self-extend:factor=4,over={written},window=64")
    assert told == SelfExtend(4, over="ntk:factor=2", window=64)


@pytest.mark.parametrize("written", ["factor=four", "log_scale=True", "over='ntk:factor=2'", 'over="ntk', "over="])
def test_other_values_are_json(written: str) -> None:
    with pytest.raises(ValueError, match=r"cannot read|must be|unknown scheme|cannot stand"):
        parse_scheme(f"self-extend:{written}")
