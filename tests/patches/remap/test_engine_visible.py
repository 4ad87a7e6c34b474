"""Padded, packed and otherwise masked rows: each text as if it stood alone."""

from __future__ import annotations

import importlib

import pytest
import torch
from torch import Tensor

from rope_scaling.patches.remap.engine import Visible, attend
from rope_scaling.patches.remap.engine.sequences import Sequence, sequences_of
from tests.patches.remap.engine_cases import BANDS, CLOSE, Case, case, rotated

NAMES = ["self-extend", "self-extend, the paper's", "dca, the paper's", "string", "leaky-rerope"]
TOKENS = 45
PADDING = -7
"""As good as any other index."""

Texts = list[list[tuple[int, int]]]
"""For each row, where texts begin and end."""

LEFT: Texts = [[(0, TOKENS)], [(13, TOKENS)], [(40, TOKENS)]]
PACKED: Texts = [[(0, 30), (30, 31), (31, TOKENS)], [(0, 3), (3, TOKENS)], [(0, TOKENS)]]
BOTH: Texts = [[(2, 30), (30, 40)], [(5, 10), (20, TOKENS)], [(0, 1)]]


def laid_out(texts: Texts, names: Case) -> tuple[Tensor, Tensor]:
    """The index of each token, (rows, tokens), and who sees whom, (rows, 1, tokens, tokens)."""
    index = torch.full((len(texts), TOKENS), PADDING)
    seen = torch.zeros(len(texts), 1, TOKENS, TOKENS, dtype=torch.bool)
    for row, own in enumerate(texts):
        for first, last in own:
            index[row, first:last] = torch.arange(last - first)
            seen[row, 0, first:last, first:last] = torch.ones(last - first, last - first).tril()
    return index, seen


def at(given: Case, index: Tensor) -> Case:
    """The same vectors, rotated at other indices."""
    query, key = (rotated(one, index[:, None], given.pairs).float() for one in given.plain)
    return Case(given.plain, query, key, given.value, given.pairs)


@pytest.fixture(params=["looked at", "not looked at"])
def looked_at(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """The mask is not looked at in a graph: then rows must give the same."""
    if request.param == "not looked at":
        module = importlib.import_module("rope_scaling.patches.remap.engine.attend")
        monkeypatch.setattr(module, "sequences_of", lambda *_: None)
    return request.param == "looked at"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("texts", [LEFT, PACKED, BOTH], ids=["left", "packed", "both"])
@pytest.mark.parametrize("behind", [0, 9, 41])
@pytest.mark.parametrize("as_function", [False, True])
def test_every_text_is_as_if_alone(looked_at: bool, name: str, texts: Texts, behind: int, as_function: bool) -> None:
    index, seen = laid_out(texts, given := case(TOKENS, rows=3))
    given = at(given, index)
    numbers = torch.cumsum((index == 0).int(), dim=1).masked_fill(index == PADDING, -1)

    def function(row: Tensor, head: Tensor, i: Tensor, j: Tensor) -> Tensor:
        return (j <= i) & (numbers[row, i] == numbers[row, j]) & (numbers[row, i] >= 0)

    visible = Visible(function if as_function else seen[:, :, behind:], index[:, behind:], index, causal=as_function)
    assert (sequences_of(visible, 3, 4) is not None) or not looked_at
    ours = attend(given.query[:, :, behind:], given.key, given.value, BANDS[name], given.pairs, visible=visible)
    for row, own in enumerate(texts):
        held = torch.zeros(TOKENS, dtype=torch.bool)
        for first, last in own:
            held[first:last] = True
            expected = given.reference(BANDS[name], slice(row, row + 1), slice(first, last))[0]
            found = ours[row, max(0, first - behind) : max(0, last - behind)]
            if len(found):
                assert (found - expected[-len(found) :]).abs().max() <= CLOSE
        assert not ours[row, ~held[behind:]].any(), "padding sees nothing"


def test_what_is_not_plain_texts_is_not_taken_for_them() -> None:
    index = torch.arange(6)[None]
    triangle = torch.ones(1, 1, 6, 6, dtype=torch.bool).tril()
    assert sequences_of(Visible(triangle, index, index), 1, 2) == ((Sequence(0, 0, 6),),)
    window = triangle & (torch.arange(6)[:, None] - torch.arange(6) < 3)
    both_ways = triangle | torch.ones(1, 1, 6, 6, dtype=torch.bool).tril(1)
    hole = triangle.clone()
    hole[..., 4, 2] = False
    for mask in (window, both_ways, hole, triangle.expand(1, 2, 6, 6)):
        assert sequences_of(Visible(mask, index, index), 1, 2) is None
    assert sequences_of(Visible(triangle, index + 1, index + 1), 1, 2) is None
    assert sequences_of(Visible(triangle, index, torch.arange(6).flip(0)[None]), 1, 2) is None


def test_a_mask_is_looked_at_once_for_all_layers() -> None:
    times = []

    def function(row: Tensor, head: Tensor, i: Tensor, j: Tensor) -> Tensor:
        times.append(1)
        return j <= i

    given = case(TOKENS)
    index = torch.arange(TOKENS)[None]
    visible = Visible(function, index, index)
    for _ in range(3):
        attend(given.query, given.key, given.value, BANDS["self-extend"], given.pairs, visible=visible)
    assert len(times) == 1


def test_a_window_is_kept_and_so_are_heads_of_their_own() -> None:
    given, bands = case(TOKENS), BANDS["self-extend"]
    i, j = torch.arange(TOKENS)[:, None], torch.arange(TOKENS)
    seen = torch.stack([(j <= i) & (i - j < width) for width in (3, 10, 30, 99)])[None]
    index = torch.arange(TOKENS)[None]
    ours = attend(given.query, given.key, given.value, bands, given.pairs, visible=Visible(seen, index, index))
    expected = given.scores(bands).masked_fill(~seen, -torch.inf).softmax(-1) @ given.values()
    assert (ours - expected.transpose(1, 2)).abs().max() <= CLOSE


def test_a_key_that_follows_its_query_is_seen_at_its_true_distance() -> None:
    given, bands = case(TOKENS), BANDS["self-extend"]
    whole = torch.ones(1, 1, TOKENS, TOKENS, dtype=torch.bool)
    index = torch.arange(TOKENS)[None]
    ours = attend(given.query, given.key, given.value, bands, given.pairs, visible=Visible(whole, index, index))
    key = given.key.double().repeat_interleave(2, dim=1)
    true = given.query.double() @ key.mT / 4
    scores = torch.where(torch.ones(TOKENS, TOKENS).tril().bool(), given.scores(bands), true)
    assert (ours - (scores.softmax(-1) @ given.values()).transpose(1, 2)).abs().max() <= CLOSE


def test_training_on_padded_rows_moves_nothing_by_padding() -> None:
    index, seen = laid_out(LEFT, given := case(TOKENS, rows=3))
    given = at(given, index)
    leaves = [one.requires_grad_() for one in (given.query, given.key, given.value)]
    attend(*leaves, BANDS["self-extend"], given.pairs, visible=Visible(seen, index, index)).sum().backward()
    for leaf in leaves:
        assert leaf.grad is not None
        assert leaf.grad.isfinite().all()
        assert not leaf.grad[1, :, :13].any()
        assert leaf.grad[1, :, 13:].any()
