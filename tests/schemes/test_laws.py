"""What holds for every frequency scheme at every geometry; tests/remap has the laws of the others."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rope_scaling.rope import Rope
from rope_scaling.schemes import (
    ABF,
    NTK,
    SCHEMES,
    Dynamic,
    Linear,
    Llama3,
    LongRoPE,
    NoScaling,
    NTKByParts,
    Remap,
    Scheme,
    YaRN,
    YaRNTurns,
)

ropes = st.builds(
    Rope.plain,
    theta=st.floats(100, 1e8),
    rotary_dim=st.integers(2, 128).map(lambda n: 2 * n),
    length=st.integers(64, 2**20),
)
factors = st.floats(1, 1000)


def divisors(rope: Rope, factor: float) -> list[float]:
    """From 1 towards half the factor, as a search would find them: growing with the pair."""
    return [1 + i * (factor - 1) / rope.rotary_dim for i in range(rope.rotary_dim // 2)]


MAKERS: dict[str, Callable[[Rope, float], Scheme]] = {
    "none": lambda rope, s: NoScaling(s),
    "linear": lambda rope, s: Linear(s),
    "ntk": lambda rope, s: NTK(s),
    "ntk-by-parts": lambda rope, s: NTKByParts(s),
    "yarn": lambda rope, s: YaRN(s),
    "yarn-turns": lambda rope, s: YaRNTurns(s),
    "llama3": lambda rope, s: Llama3(s),
    "longrope": lambda rope, s: LongRoPE(divisors(rope, s), factor=s),
    "abf": lambda rope, s: ABF(rope.theta * s, factor=s),
    "dynamic": lambda rope, s: Dynamic(s),
}
NAMES = {name for name, scheme in SCHEMES.items() if not issubclass(scheme, Remap)}
every_scheme = pytest.mark.parametrize("name", sorted(NAMES))


def test_every_registered_scheme_is_tested_here() -> None:
    assert set(MAKERS) == NAMES


@every_scheme
@given(rope=ropes, factor=factors)
def test_frequencies_are_positive_finite_and_never_above_the_trained_ones(name: str, rope: Rope, factor: float) -> None:
    scaled = MAKERS[name](rope, factor)(rope)
    assert all(math.isfinite(f) and 0 < f <= trained for f, trained in zip(scaled.inv_freq, rope.inv_freq, strict=True))
    assert math.isfinite(scaled.attention_factor)
    assert scaled.attention_factor >= 1


@every_scheme
@given(rope=ropes, factor=factors, more=st.floats(1, 10))
def test_a_larger_factor_never_turns_faster(name: str, rope: Rope, factor: float, more: float) -> None:
    near, far = MAKERS[name](rope, factor)(rope), MAKERS[name](rope, factor * more)(rope)
    # rounding of the last bit aside
    assert all(b <= a * (1 + 1e-14) for a, b in zip(near.inv_freq, far.inv_freq, strict=True))


@every_scheme
@given(rope=ropes)
def test_factor_one_changes_nothing_bit_for_bit(name: str, rope: Rope) -> None:
    scaled = MAKERS[name](rope, 1.0)(rope)
    assert scaled.inv_freq == rope.inv_freq
    assert scaled.attention_factor == rope.attention_factor


@pytest.mark.parametrize("name", sorted(NAMES - {"abf", "longrope", "dynamic", "none"}))
@given(rope=ropes, factor=st.floats(1.1, 100), share=st.floats(0.01, 1))
def test_within_the_trained_length_a_scheme_given_a_length_changes_nothing(
    name: str, rope: Rope, factor: float, share: float
) -> None:
    scaled = MAKERS[name](rope, factor)(rope, share * rope.original_max_position_embeddings)
    assert scaled.inv_freq == rope.inv_freq
    assert scaled.attention_factor == 1.0


@given(rope=ropes, factor=factors)
def test_the_last_pair_of_ntk_is_that_of_linear(rope: Rope, factor: float) -> None:
    assert NTK(factor)(rope).inv_freq[-1] == pytest.approx(Linear(factor)(rope).inv_freq[-1], rel=1e-9)


@given(rope=ropes.filter(lambda rope: rope.original_max_position_embeddings > 32 * 2 * math.pi), factor=factors)
def test_the_first_pair_of_yarn_is_the_trained_one(rope: Rope, factor: float) -> None:
    # the first pair turns L / 2π times: from 32 turns on it is kept
    assert YaRN(factor)(rope).inv_freq[0] == rope.inv_freq[0]
    assert YaRNTurns(factor)(rope).inv_freq[0] == rope.inv_freq[0]


@given(rope=ropes, factor=st.floats(1.1, 100))
def test_a_length_is_capped_by_the_factor(rope: Rope, factor: float) -> None:
    beyond = 10 * factor * rope.original_max_position_embeddings
    assert YaRN(factor)(rope, beyond) == YaRN(factor)(rope)


def test_schemes_compose_on_trained_frequencies_that_are_scaled_already() -> None:
    trained = Llama3(8.0)(Rope.plain(5e5, 128, 8192))
    rope = Rope(trained.inv_freq, 5e5, 128, 128, 131072, 1.0, "llama3")
    twice = Linear(2.0)(rope)
    assert twice.inv_freq == tuple(f / 2 for f in trained.inv_freq)
