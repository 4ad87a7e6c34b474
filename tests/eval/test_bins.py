import math

import pytest
import torch

from rope_scaling.eval.bins import Bin, at, bins, parse_lengths, perplexity, short


def test_k_means_1024() -> None:
    assert parse_lengths("1k, 2K,3000,10k") == (1024, 2048, 3000, 10240)


def test_ranges_begin_at_zero_and_touch() -> None:
    assert [part.label for part in bins((1024, 2048, 10240))] == ["0-1k", "1k-2k", "2k-10k"]
    assert bins((5,)) == (Bin(0, 5),)


@pytest.mark.parametrize("text", ["", "1k,,2k", "1.5k", "k", "-1k", "0", "1m", "2k;4k", "1k,"])
def test_unreadable_lengths_show_how_to_write_them(text: str) -> None:
    with pytest.raises(ValueError, match=r"write token counts such as 1k,2k,4k"):
        parse_lengths(text)


@pytest.mark.parametrize("text", ["2k,1k", "1k,1024"])
def test_lengths_must_rise(text: str) -> None:
    with pytest.raises(ValueError, match="lengths must rise"):
        parse_lengths(text)


def test_one_token_cannot_be_scored() -> None:
    with pytest.raises(ValueError, match="at least 2 tokens"):
        parse_lengths("1")


def test_short_only_rounds_what_is_round() -> None:
    assert [short(n) for n in (0, 1000, 1024, 1536, 131072)] == ["0", "1000", "1k", "1536", "128k"]


def test_scores_are_found_by_position() -> None:
    nll = torch.arange(1.0, 10.0)  # of positions 1..9
    assert at(nll, 0, 4).tolist() == [1, 2, 3]
    assert at(nll, 4, 8).tolist() == [4, 5, 6, 7]
    assert at(nll, 8).tolist() == [8, 9]
    assert perplexity(nll, 4, 6) == pytest.approx(math.exp(4.5))


def test_a_length_beyond_reason_is_refused_and_long_contexts_are_not() -> None:
    assert parse_lengths("128k,1024k,2048k,10240k") == (2**17, 2**20, 2**21, 10 * 2**20)
    for text in ("999999999k", "4k,17000k", "16777217"):
        with pytest.raises(ValueError, match=r"beyond 16384k, more than any checkpoint is made for: ask for less"):
            parse_lengths(text)
