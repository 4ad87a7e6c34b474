from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rope_scaling.eval.stats import holm

P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=6)


@given(P_VALUES)
def test_it_is_the_closed_test_of_every_bonferroni_test(p_values: list[float]) -> None:
    places = range(len(p_values))
    subsets = [set(subset) for size in range(1, len(p_values) + 1) for subset in combinations(places, size)]
    wanted = [
        max(min(1.0, len(subset) * min(p_values[one] for one in subset)) for subset in subsets if place in subset)
        for place in places
    ]
    assert holm(p_values) == pytest.approx(wanted)


@given(P_VALUES)
def test_it_keeps_the_order_and_never_helps(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    assert all(after >= before for before, after in zip(p_values, adjusted, strict=True))
    ranked = sorted(range(len(p_values)), key=lambda place: p_values[place])
    assert sorted(adjusted) == [adjusted[place] for place in ranked]


def test_four_worked_by_hand() -> None:
    # 4 · 0.005, 3 · 0.01, 2 · 0.03, and 1 · 0.04 raised to what came before
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


def test_what_is_no_p_value_is_told() -> None:
    with pytest.raises(ValueError, match=r"p-values must be from 0 to 1, got \[1.5\]"):
        holm([0.1, 1.5])
