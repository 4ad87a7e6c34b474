from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rope_scaling.eval.tasks.common.fill import TooShortError, fill, most


@given(st.lists(st.integers(1, 40), min_size=1, max_size=30), st.integers(0, 5000), st.integers(0, 50))
@settings(max_examples=200, deadline=None)
def test_most_finds_what_counting_up_finds(sizes: list[int], tokens: int, bare: int) -> None:
    def used(units: int) -> int:
        rounds, rest = divmod(units, len(sizes))
        return bare + rounds * sum(sizes) + sum(sizes[:rest])

    if bare > tokens:
        return
    counted = 0
    while used(counted + 1) <= tokens:
        counted += 1
    assert most(used, tokens) == counted


def test_most_looks_at_few_sizes() -> None:
    looked = []

    def used(units: int) -> int:
        looked.append(units)
        return 37 + 5 * units + units % 3

    assert used(most(used, 131072)) <= 131072
    assert len(looked) < 12


def test_a_tokenizer_that_makes_nothing_of_words_is_told() -> None:
    with pytest.raises(ValueError, match="makes 0 tokens of 50 sentences"):
        most(lambda units: 0, 100)


@pytest.mark.parametrize("tokens", range(40, 80))
def test_gaps_are_closed_by_sentences_words_and_marks(tokens: int) -> None:
    def render(units: int, padding: str) -> str:
        return " ".join(["one two three four five six seven"] * units) + padding + " end"

    filled = fill(lambda text: len(text.replace("!", " !").split()), render, tokens, 0)
    assert filled.tokens == tokens == len(filled.prompt.replace("!", " !").split())


def test_where_no_word_is_one_token_the_prompt_is_the_longest_below() -> None:
    filled = fill(lambda text: 2 * len(text), lambda units, padding: "x" * units + padding, 101, 0)
    assert filled.tokens == 100


def test_a_frame_that_is_too_long_is_told_with_the_room() -> None:
    with pytest.raises(TooShortError, match="a prompt of 26 tokens is too short: question and answer alone take 36"):
        fill(len, lambda units, padding: "x" * (20 + units), 10, 16)
