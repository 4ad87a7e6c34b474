"""Which prefixes are read once: laws of every plan, and plans that are known."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from rope_scaling.eval.engine.prefixes import LEAST, common_prefix, families
from rope_scaling.eval.engine.rows import Row, row_to_continue, rows_to_score

A, B, C = [1] * 100, [2] * 40, [3] * 50


@st.composite
def texts(draw: st.DrawFn) -> list[Row]:
    """Texts grown from each other's beginnings."""
    grown: list[list[int]] = [[]]
    for _ in range(draw(st.integers(1, 12))):
        stem = draw(st.sampled_from(grown))
        cut = draw(st.integers(0, len(stem)))
        grown.append(stem[:cut] + draw(st.lists(st.integers(0, 2), min_size=1, max_size=60)))
    return [Row(ids, draw(st.integers(0, len(ids) - 1))) for ids in grown[1:]]


@settings(max_examples=200, deadline=None)
@given(texts(), st.integers(1, 5), st.sampled_from([0.0, 20.0, 1e9]))
def test_every_row_goes_on_from_a_prefix_of_its_own(rows: list[Row], batch_size: int, pass_cost: float) -> None:
    found = families(rows, batch_size, pass_cost)
    assert sorted(id(row) for family in found for row in family.rows) == sorted(id(row) for row in rows)
    for family in found:
        for row in family.rows:
            assert row.ids[: len(family.prefix)] == family.prefix
            assert len(family.prefix) <= row.free
    assert [family.prefix for family in found] == sorted(family.prefix for family in found)


@settings(max_examples=200, deadline=None)
@given(texts())
def test_no_two_rows_read_what_one_could_for_both(rows: list[Row]) -> None:
    """Where a pass costs nothing, whatever prefix two rows have in common is in a trunk, but for a short rest."""
    prefix = {id(row): family.prefix for family in families(rows, 1, 0.0) for row in family.rows}
    for one in rows:
        for other in rows:
            common = min(common_prefix(one.ids, other.ids), one.free, other.free)
            if one is not other and common >= LEAST:
                least_free = min(row.free for row in rows if common_prefix(row.ids, one.ids) >= common)
                assert common_prefix(prefix[id(one)], prefix[id(other)]) > min(common, least_free) - LEAST


@given(st.lists(st.integers(0, 1), max_size=30), st.lists(st.integers(0, 1), max_size=30))
def test_a_common_prefix_is_as_long_as_the_texts_agree(one: list[int], other: list[int]) -> None:
    agreed = [a == b for a, b in zip(one, other, strict=False)]
    assert common_prefix(one, other) == (agreed.index(False) if False in agreed else len(agreed))


def test_choices_share_their_question_and_questions_their_haystack() -> None:
    requests = [(A + B, [7, 8]), (A + B, [9, 8]), (A + C, [7, 8]), (A + C, [9, 8]), ([5, 6], [7, 8])]
    found = families(rows_to_score(requests, 1000), 1, 0.0)
    # the last token of a context is read with the choice: what it predicts is wanted
    assert [(len(family.prefix), len(family.rows)) for family in found] == [(0, 1), (139, 2), (149, 2)]


def test_requests_that_read_the_same_text_are_one_row() -> None:
    rows = rows_to_score([(A, [7]), (A, [8]), (A[:-1], [1, 9])], 1000)
    assert [(len(row.ids), [want.first for want in row.wants]) for row in rows] == [(100, [99, 99, 98])]


def test_what_is_too_long_loses_its_beginning() -> None:
    (row,) = rows_to_score([([1, 2, 3, 4, 5], [6, 7])], 4)
    assert (row.ids, row.wants[0].first) == ([3, 4, 5, 6], 2)


def test_a_prefix_that_costs_more_than_it_saves_is_not_shared() -> None:
    rows = rows_to_score([(A, [7, 8]), (A, [9, 8])], 1000)
    shared = {cost: [len(family.prefix) for family in families(rows, 2, cost)] for cost in (90.0, 110.0)}
    assert shared == {90.0: [99], 110.0: [0]}  # it saves one row of 99 tokens, and costs one pass


def test_many_passes_of_a_small_batch_are_worse_than_a_prefix_read_twice() -> None:
    prompts = [row_to_continue(number, [*A, number], 50) for number in range(2)]
    assert [len(family.prefix) for family in families(prompts, 2, 1.0)] == [100]
    assert [len(family.prefix) for family in families(prompts, 64, 10.0)] == [0]
