"""The cache of a prefix: equal to one that was never cropped, lent without being changed, and no larger than told."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from rope_scaling.eval.engine.reader import Reader
from rope_scaling.eval.engine.trunk import Trunk, bytes_per_token
from tests.eval.engine.asking import engine_lm, keyed_pairs, model_of, plain_lm, prompted, scored

MODEL = model_of()
TEXT = list(range(3, 83))


def trunk_of(*prefixes: list[int], chunk: int = 32) -> Trunk:
    trunk = Trunk(Reader(MODEL, torch.device("cpu"), chunk))
    for prefix in prefixes:
        trunk.move_to(prefix)
    return trunk


def keys(cache: Any) -> torch.Tensor:
    return torch.stack([layer.keys for layer in cache.layers])


@pytest.mark.parametrize("chunk", [1, 7, 200])
def test_moving_from_prefix_to_prefix_equals_reading_the_last_one(chunk: int) -> None:
    moved = trunk_of(TEXT[:60], TEXT[:20] + TEXT[30:70], TEXT[:50], chunk=chunk)
    with torch.no_grad():
        fresh = MODEL(torch.tensor([TEXT[:50]]), use_cache=True).past_key_values
    torch.testing.assert_close(keys(moved.cache), keys(fresh), rtol=1e-5, atol=1e-5)
    assert moved.reader.work.tokens == 60 + 40 + 30


@pytest.mark.parametrize("texts", [1, 3])
def test_what_goes_on_from_a_trunk_leaves_it_as_it_was(texts: int) -> None:
    trunk = trunk_of(TEXT[:50])
    before = keys(trunk.cache).clone()
    with trunk.branch(texts) as cache:
        rows = torch.tensor([TEXT[50:]] * texts)
        logits, _ = trunk.reader.read(rows, cache, 1)
    assert torch.equal(keys(trunk.cache), before)
    with torch.no_grad():
        whole = MODEL(torch.tensor([TEXT])).logits[:, -1:]
    torch.testing.assert_close(logits, whole.expand(texts, -1, -1), rtol=1e-5, atol=1e-5)


def test_a_crop_gives_back_what_it_hides() -> None:
    trunk = trunk_of(TEXT, TEXT[:20])
    held = sum(layer.keys.untyped_storage().nbytes() for layer in trunk.cache.layers)
    assert held == keys(trunk.cache).numel() * 4


def test_no_prefix_is_no_cache() -> None:
    assert trunk_of(TEXT, []).cache is None


def most_held(lm: Any, run: Any) -> float:
    """The most bytes of keys and values that one cache held after a forward pass, of all its rows."""
    most = 0.0

    def after(module: Any, args: Any, output: Any) -> None:
        nonlocal most
        if output.past_key_values is not None:
            cache = output.past_key_values
            most = max(most, bytes_per_token(cache) * cache.get_seq_length())

    handle = lm.model.register_forward_hook(after)
    try:
        run()
    finally:
        handle.remove()
    return most


@pytest.mark.parametrize("tokens_held", [250, 600, 2000])
def test_the_cache_stays_within_its_bound_and_scores_stay_the_same(tokenizer: Any, tokens_held: int) -> None:
    gigabytes = tokens_held * 512 / 1e9
    bounded = engine_lm(model_of(), tokenizer, batch_size=8, chunk=20, cache_gb=gigabytes)
    pairs = keyed_pairs()
    expected = plain_lm(model_of(), tokenizer).loglikelihood(scored(pairs))
    scores: list[Any] = []
    most = most_held(bounded, lambda: scores.extend(bounded.loglikelihood(scored(pairs))))
    assert 0 < most <= gigabytes * 1e9
    assert [value for value, _ in scores] == pytest.approx([value for value, _ in expected], rel=1e-5)
    assert most_held(bounded, lambda: bounded.generate_until(prompted(pairs))) <= gigabytes * 1e9


def test_a_request_that_alone_is_too_large_is_refused_before_anything_is_read(tokenizer: Any) -> None:
    lm = engine_lm(model_of(), tokenizer, cache_gb=100 * 512 / 1e9)
    longest = max(len(context or "s") + len(continuation) - 1 for context, continuation in keyed_pairs())
    with pytest.raises(ValueError, match=f"a request of {longest} tokens takes .* raise cache_gb"):
        lm.loglikelihood(scored(keyed_pairs()))
    assert lm.engine.reader.work.passes == 0


def test_auto_batches_are_chosen_without_trying(tokenizer: Any) -> None:
    model, pairs = model_of(), keyed_pairs()
    auto = engine_lm(model, tokenizer, batch_size="auto", share=False)
    scores = auto.loglikelihood(scored(pairs))
    assert math.isclose(scores[0][0], plain_lm(model, tokenizer).loglikelihood(scored(pairs))[0][0], rel_tol=1e-5)
    assert auto.engine.reader.work.passes < len(pairs) / 5
