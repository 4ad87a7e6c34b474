"""Every remap scheme against its paper, pair by pair, and the laws that all of them obey."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rope_scaling.remap import Bands, LogRatio, check_cover, position_matrix
from rope_scaling.rope import Rope
from rope_scaling.schemes import (
    DCA,
    SCHEMES,
    STRING,
    LaMPE,
    LeakyReRoPE,
    Remap,
    ReRoPE,
    SelfExtend,
    is_remap,
    make_scheme,
    parse_scheme,
)
from tests.remap import papers
from tests.remap.papers import Rule

NAMES = sorted(name for name, scheme in SCHEMES.items() if issubclass(scheme, Remap))
MOST = {"string": 1.9}
"""The largest factor of those schemes that have one."""


def rope_of(length: int) -> Rope:
    return Rope.plain(1e4, 8, length)


def positions(scheme: Remap, length: int, n: int) -> Tensor:
    bands = scheme.bands(rope_of(length))
    check_cover(bands, n)
    return position_matrix(bands, n)


def assert_is(found: Tensor, rule: Rule, *, rel: float = 0.0) -> None:
    expected = torch.tensor(papers.matrix(rule, len(found)), dtype=torch.float64)
    torch.testing.assert_close(found, expected, rtol=rel, atol=0.0, equal_nan=True)


def made(name: str, factor: float, **options: object) -> Remap:
    scheme = make_scheme(name, {"factor": min(factor, MOST.get(name, factor)), **options})
    assert is_remap(scheme)
    return scheme


@pytest.mark.parametrize(("window", "group"), [(4, 2), (4, 3), (5, 3), (1, 2), (7, 2), (8, 5)])
@pytest.mark.parametrize("start", [0, 3, 10])
def test_self_extend_is_its_papers(window: int, group: int, start: int) -> None:
    length = 16
    n = group * (length - window + window // group)
    found = positions(SelfExtend(n / length, start=start, window=window, group=group), length, n)
    assert_is(found, papers.from_query(start, papers.self_extend(window, group)))


def test_self_extend_is_the_example_of_its_papers_figure() -> None:
    # arXiv 2401.01325v3, figure 3: trained to 7 tokens, 10 are read, group 2, window 4
    found = positions(SelfExtend(10 / 7, start=0, window=4, group=2), 7, 10)
    assert found[9].tolist() == [6, 6, 5, 5, 4, 4, 3, 2, 1, 0]
    assert found[4, :5].tolist() == [4, 3, 2, 1, 0]


def test_self_extend_takes_the_smallest_group_for_each_query() -> None:
    found = positions(SelfExtend(4, window=4), 16, 64)
    smallest = [next(g for g in range(1, 99) if i // g + 4 - 4 // g < 16) for i in range(64)]
    assert len(set(smallest)) > 3
    assert_is(found, lambda i, j: papers.self_extend(4, smallest[i])(i, j))


@pytest.mark.parametrize("window", [4, 63])
def test_self_extend_reaches_far_with_few_bands(window: int) -> None:
    scheme = SelfExtend(1000, window=window)
    bands = scheme.bands(rope_of(64))
    assert len(bands) < 120
    last = torch.tensor([64 * 1000 - 1])
    held = [band for band in bands if band.region.holds(last, torch.tensor([0])).item()]
    assert [(band.queries(last) - band.keys(torch.tensor([0]))).item() for band in held] == [63]
    for band in bands[2:-1]:
        assert band.region.last is not None
        assert band.queries(torch.tensor([band.region.last - 1])).item() <= 63


@pytest.mark.parametrize("window", [1, 5, 15])
@pytest.mark.parametrize("start", [0, 16])
def test_rerope_is_its_authors(window: int, start: int) -> None:
    found = positions(ReRoPE(3, start=start, window=window), 16, 48)
    assert_is(found, papers.from_query(start, papers.rerope(window)))


@pytest.mark.parametrize(("window", "group"), [(4, 4.0), (1, 2.5), (8, 5.1)])
@pytest.mark.parametrize("start", [0, 16])
def test_leaky_rerope_is_its_authors(window: int, group: float, start: int) -> None:
    found = positions(LeakyReRoPE(2, start=start, window=window, group=group), 16, 32)
    assert_is(found, papers.from_query(start, papers.leaky_rerope(window, group)), rel=1e-14)


def test_leaky_rerope_grows_its_group_by_steps_of_the_root_of_two() -> None:
    found = positions(LeakyReRoPE(4, window=64), 512, 2048)
    groups = [(i - 64) / (found[i, 0].item() - 64) for i in range(512, 2048)]
    needed = [(i - 64) / (511 - 64) for i in range(512, 2048)]
    assert all(one - 1e-9 <= group <= 2**0.5 * one for group, one in zip(groups, needed, strict=True))
    assert all(after >= before - 1e-9 for before, after in itertools.pairwise(groups))


@pytest.mark.parametrize(("length", "chunk"), [(10, 6), (16, 12), (16, 5), (9, 8), (2, 1)])
@pytest.mark.parametrize("start", [0, 1])
def test_dca_is_its_papers(length: int, chunk: int, start: int) -> None:
    found = positions(DCA(4, start=start * length, chunk=chunk), length, 4 * length)
    assert_is(found, papers.from_query(start * length, papers.dca(chunk, length)))


def test_dca_is_the_example_of_its_papers_figures() -> None:
    # arXiv 2402.17463v2, figure 2: trained to 10 tokens, 12 are read, chunks of 6, so a local window of 4
    found = positions(DCA(1.2, start=0, chunk=6), 10, 12)
    assert found[6, :7].tolist() == [6, 5, 4, 3, 2, 1, 0]
    assert found[9, :10].tolist() == [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]
    assert found[11].tolist() == [9, 8, 7, 6, 5, 4, 5, 4, 3, 2, 1, 0]


@pytest.mark.parametrize(("length", "shift", "window"), [(24, 8, 2), (24, 12, 3), (24, 24, 0)])
def test_string_within_the_trained_length_is_its_papers(length: int, shift: int, window: int) -> None:
    # the paper's own use: nothing is extended, positions that are rarely trained are left out
    bands = STRING(1.01, start=0, window=window, shift=shift).bands(rope_of(length))
    assert_is(position_matrix(bands, length), papers.string(shift, window))


def test_string_drops_the_farthest_positions_and_keeps_the_nearest() -> None:
    # by hand from arXiv 2410.18745v1, section 4: 9 tokens, S = 3, W = 2
    found = positions(STRING(9 / 8, start=0, shift=3, window=2), 8, 9)
    assert found[8].tolist() == [7, 6, 5, 4, 3, 2, 2, 1, 0]


def test_string_reaches_twice_the_trained_length_less_its_window() -> None:
    found = positions(STRING(60 / 32, window=4), 32, 60)
    assert_is(found, papers.from_query(32, papers.string(32, 4)))
    with pytest.raises(ValueError, match=r"window=4 reaches 60 tokens, short of the 61 .*max_length=60"):
        STRING(61 / 32, window=4).bands(rope_of(32))


@pytest.mark.parametrize(("head", "tail", "mapped"), [(8, 3, 20), (5, 2, 31), (16, 1, 7)])
@pytest.mark.parametrize("start", [0, 64])
def test_lampe_is_its_authors_code(head: int, tail: int, mapped: int, start: int) -> None:
    found = positions(LaMPE(2.5, start=start, head=head, tail=tail, mapped=mapped), 64, 160)
    assert_is(found, papers.from_query(start, papers.lampe(head, tail, mapped, 160)))


def test_lampe_takes_the_most_positions_that_stay_within_the_trained_length() -> None:
    found = positions(LaMPE(4, head=4, tail=2), 64, 256)
    assert found[255, 0] in (62, 63)


def test_lampe_finds_the_mapping_length_of_its_authors_sigmoid() -> None:
    # llama_cache1.py, `remap_uselen`, the numbers of "llama3": 6204.41 / (1 + exp(0.747449)) = 6204.41 / 3.11161
    fitted = (0.00010493097327094324, -2.466638011138158, 6204.409324666837)
    by_sigmoid = LaMPE(2, head=512, tail=200, sigmoid=fitted).bands(rope_of(8192))
    assert by_sigmoid == LaMPE(2, head=512, tail=200, mapped=1993).bands(rope_of(8192))


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=25, deadline=None)
@given(length=st.integers(48, 90), factor=st.floats(1.01, 4), start=st.none() | st.integers(0, 48))
def test_no_position_is_outside_of_what_was_trained(name: str, length: int, factor: float, start: int | None) -> None:
    scheme = made(name, factor, start=start)
    assert scheme.factor is not None
    n = round(length * scheme.factor)
    found = positions(scheme, length, n)
    seen = found[~found.isnan()]
    assert seen.min() >= 0
    assert seen.max() <= length - 1 + 1e-12  # the last bit of a division by leaky ReRoPE's group
    assert bool((found.diagonal() == 0).all())
    first = min(length if start is None else start, n)
    index = torch.arange(first)
    true = (index[:, None] - index).double()
    assert torch.equal(found[:first, :first].tril(), true.tril())


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=20, deadline=None)
@given(length=st.integers(48, 90), factor=st.floats(1.2, 4))
def test_neighbours_are_seen_at_their_true_distance(name: str, length: int, factor: float) -> None:
    scheme = made(name, factor)
    assert scheme.factor is not None
    found = positions(scheme, length, round(length * scheme.factor))
    assert bool((found.diagonal(-1) == 1).all())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("n", [1, 7, 16, 40])
def test_a_text_within_the_trained_length_has_its_true_distances(name: str, n: int) -> None:
    assert_is(positions(made(name, 1.9), 40, n), lambda i, j: i - j)


@pytest.mark.parametrize("name", NAMES)
def test_factor_one_is_one_band_with_nothing_to_turn(name: str) -> None:
    (band,) = made(name, 1).bands(rope_of(64))
    assert band.plain
    assert made(name, 1)(rope_of(64)).inv_freq == rope_of(64).inv_freq


@pytest.mark.parametrize("name", NAMES)
def test_what_a_query_sees_never_depends_on_the_length_of_its_text(name: str) -> None:
    bands = made(name, 1.9).bands(rope_of(40))
    whole = position_matrix(bands, 76)
    for n in (41, 50, 75):
        torch.testing.assert_close(position_matrix(bands, n), whole[:n, :n], equal_nan=True, rtol=0, atol=0)


@pytest.mark.parametrize("name", NAMES)
def test_a_length_bounds_the_factor(name: str) -> None:
    scheme = made(name, 1.9)
    assert scheme.bands(rope_of(40), 20) == made(name, 1).bands(rope_of(40))
    assert scheme.bands(rope_of(40), 60) == made(name, 1.5).bands(rope_of(40))
    assert scheme.bands(rope_of(40), 9999) == scheme.bands(rope_of(40))


@pytest.mark.parametrize("name", NAMES)
def test_over_a_frequency_scheme_the_remap_bridges_the_rest(name: str) -> None:
    over = SCHEMES[name](factor=3, over="ntk:factor=2")  # type: ignore[call-arg]
    assert is_remap(over)
    alone = made(name, 1.5)
    assert over.bands(rope_of(32)) == alone.bands(rope_of(64))
    frequencies = parse_scheme("ntk:factor=2")(rope_of(32))
    assert over(rope_of(32)) == frequencies
    assert over(rope_of(32), 20) == frequencies  # keys in a cache must not change with the length


@pytest.mark.parametrize("name", NAMES)
def test_scores_are_sharpened_past_what_was_trained(name: str) -> None:
    assert made(name, 1.5).score_scale(rope_of(64)) == LogRatio(64)
    assert made(name, 1.5, start=0).score_scale(rope_of(64)) == LogRatio(64)
    over = SCHEMES[name](factor=3, over="ntk:factor=2")  # type: ignore[call-arg]
    assert is_remap(over)
    assert over.score_scale(rope_of(64)) == LogRatio(128)
    assert made(name, 1.5, log_scale=False).score_scale(rope_of(64)) is None
    assert made(name, 1).score_scale(rope_of(64)) is None


def test_over_takes_the_attention_factor_along() -> None:
    scheme = parse_scheme('self-extend:factor=4,over="yarn:factor=2,beta_fast=16",window=8')
    assert scheme(rope_of(64)).attention_factor == pytest.approx(0.1 * math.log(2) + 1)
    assert make_scheme(scheme.name, {"factor": 4, "over": "yarn:factor=2,beta_fast=16", "window": 8}) == scheme


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('dca:over="dynamic-yarn"', "must be a static frequency scheme"),
        ('dca:over="rerope:factor=2"', "must be a static frequency scheme"),
        ('dca:over="dynamic:factor=2"', "must be a static frequency scheme"),
        ('dca:over="yarn"', r"over='yarn' says no factor"),
        ('dca:over="nkt:factor=2"', "did you mean 'ntk'"),
        ("dca:over=2", "must be the text of a frequency scheme"),
        ("dca:log_scale=2", "log_scale must be true or false, got 2"),
        ("dca:start=-1", "start must be a whole number of at least 0, got -1"),
        ("self-extend:group=1", "group must be a whole number of at least 2, got 1"),
        ("self-extend:window=0.5", "window must be a whole number of at least 1, got 0.5"),
        ("leaky-rerope:group=1", "group must be above 1"),
        ("lampe:mapped=9,sigmoid=[1, 2, 3]", "mapped and sigmoid both say"),
        ("lampe:sigmoid=[1, 2]", "three numbers"),
    ],
)
def test_an_impossible_option_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_scheme(text)


@pytest.mark.parametrize(
    ("scheme", "message"),
    [
        (SelfExtend(2, window=64), "window must be below the trained length 64, got 64.*try window=8"),
        (SelfExtend(4, window=16, group=4), "reaches 208 tokens, short of the 256 asked for: use group=6"),
        (
            LeakyReRoPE(4, window=16, group=4),
            r"reaches 205 tokens, short of the 256 asked for: use group=5\.085107 or more",
        ),
        (LeakyReRoPE(4, window=63), "window must be below 63, one less than the trained length 64"),
        (ReRoPE(2, window=70), "window must be below the trained length 64, got 70"),
        (DCA(2, chunk=64), "chunk must be below the trained length 64, got 64.*try chunk=48"),
        (STRING(), "reaches 124 tokens, short of the 128 asked for"),
        (STRING(1.5, window=4, shift=20), "shift must be from 36 to 64"),
        (LaMPE(2, head=60, tail=10), "leave too few of the 64 trained positions"),
        (LaMPE(2, mapped=1), "the tail of 1 meets the head of 8; take more, at most 5[0-9]"),
        (LaMPE(2, sigmoid=(-1e9, 0.0, 9.0)), "maps 128 tokens to 0 positions"),
        (LaMPE(2, mapped=64), "maps 128 tokens to 64 positions"),
        (DCA(2, over="ntk:factor=2"), "reaches 128 tokens by itself and 128 are asked for, so dca would do nothing"),
        (DCA(2, start=65), "start must be at most the trained length 64"),
    ],
)
def test_what_cannot_be_reached_is_refused_and_the_message_says_what_would_do(scheme: Remap, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        scheme.bands(rope_of(64))


@pytest.mark.parametrize("text", ["self-extend:group=6,window=16", "leaky-rerope:group=5.085107,window=16"])
def test_what_a_refusal_offers_is_accepted(text: str) -> None:
    positions(make_scheme(text.partition(":")[0], _options(text) | {"factor": 4}), 64, 256)  # type: ignore[arg-type]


def _options(text: str) -> dict[str, object]:
    made = parse_scheme(text)
    return {name: getattr(made, name) for name in ("group", "window")}


@pytest.mark.parametrize("name", NAMES)
def test_nothing_can_be_written_into_a_config(name: str) -> None:
    rule: Callable[[Rope], object] = made(name, 1.9).rope_parameters
    assert rule(rope_of(64)) is None


def test_bands_are_values() -> None:
    one: Bands = SelfExtend(4).bands(rope_of(64))
    assert one == SelfExtend(4).bands(rope_of(64))
    assert hash(one) == hash(SelfExtend(4).bands(rope_of(64)))
