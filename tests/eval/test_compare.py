from collections import Counter

import pytest
import torch

from rope_scaling.eval.bins import at, perplexity
from rope_scaling.eval.compare import Plan, run, trained_length, work
from rope_scaling.eval.perplexity import token_nll, window_nll
from tests.eval.tiny import TRAINED, tiny_llama, tiny_text

LENGTH = TRAINED + 64 * 9  # enough blocks for a verdict


def test_window_is_the_plain_model_within_the_trained_length_and_windows_past_it() -> None:
    model, text = tiny_llama(), tiny_text(LENGTH)
    none, window = run(model, text, Plan(("none",), stride=16))
    assert torch.equal(at(window.nll, 0, TRAINED), at(none.nll, 0, TRAINED))
    assert torch.equal(at(window.nll, TRAINED), window_nll(model, text, length=TRAINED, stride=16))
    assert len(window.nll) == LENGTH - 1


def test_window_needs_no_unscaled_row() -> None:
    text = tiny_text(LENGTH)
    *_, reusing = run(tiny_llama(), text, Plan(("none",), stride=16))
    (alone,) = run(tiny_llama(), text, Plan((), stride=16))
    torch.testing.assert_close(alone.nll, reusing.nll, atol=1e-5, rtol=0)


def test_every_scheme_is_judged_against_window_and_taxed_against_the_unscaled() -> None:
    none, linear, window = run(tiny_llama(), tiny_text(LENGTH), Plan(("none", "linear:factor=2"), stride=16))
    assert none.tax == 0.0
    assert linear.tax == pytest.approx(perplexity(linear.nll, 0, TRAINED) / perplexity(none.nll, 0, TRAINED) - 1)
    assert linear.max_length == 2 * TRAINED
    assert linear.versus_window is not None
    assert linear.versus_window.blocks == 9
    assert (window.tax, window.versus_window) == (None, None)


def test_without_window_there_is_a_tax_but_no_verdict() -> None:
    none, linear = run(tiny_llama(), tiny_text(), Plan(("none", "linear"), window=False))
    assert linear.tax is not None
    assert (none.versus_window, linear.versus_window) == (None, None)


def test_a_text_within_the_trained_length_gets_no_verdict() -> None:
    none, window = run(tiny_llama(), tiny_text(TRAINED), Plan(("none",)))
    assert none.versus_window is None
    assert torch.equal(none.nll, window.nll)


def test_the_model_is_left_as_it_was() -> None:
    model, text = tiny_llama(), tiny_text()
    before, config = token_nll(model, text), model.config.to_dict()
    run(model, text, Plan(("yarn:factor=4", "ntk:factor=2")))
    assert torch.equal(token_nll(model, text), before)
    assert model.config.to_dict() == config


def test_a_dynamic_scheme_is_scored_on_texts_as_long_as_the_range_ends() -> None:
    model, text = tiny_llama(), tiny_text(4 * TRAINED)
    edges = (TRAINED, 2 * TRAINED, 4 * TRAINED)
    none, twice, four, row = run(
        model, text, Plan(("none", "ntk:factor=2", "ntk:factor=4", "dynamic-ntk"), window=False, edges=edges)
    )
    starts = (0, TRAINED - 1, 2 * TRAINED - 1, None)
    for start, stop, static in zip(starts, starts[1:], (none, twice, four), strict=False):
        assert torch.allclose(row.nll[start:stop], static.nll[start:stop], atol=1e-5)
    assert row.tax == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("schemes", [("none", "ntk"), ("ntk",), ("dynamic-ntk", "none"), ()])
def test_the_progress_announced_is_the_progress_made(schemes: tuple[str, ...]) -> None:
    plan, text, seen = Plan(schemes, chunk=13, stride=7), tiny_text(), Counter[str]()
    run(tiny_llama(), text, plan, watch=lambda row, tokens: seen.update({row: tokens}))
    assert seen == work(plan, len(text), TRAINED)


@pytest.mark.parametrize("schemes", [("none", "ntk:factor=4"), ("ntk:factor=4",)])
def test_several_texts_in_batches_are_each_scored_as_alone(schemes: tuple[str, ...]) -> None:
    model, texts = tiny_llama(), tiny_text(3 * LENGTH).view(3, -1)
    plan = Plan(schemes, stride=16, batch_size=2)
    for row, *alone in zip(run(model, texts, plan), *(run(model, text, plan) for text in texts), strict=True):
        expected = torch.stack([one.nll for one in alone])
        torch.testing.assert_close(row.nll, expected, atol=1e-5, rtol=0)
        assert row.versus_window is None or row.versus_window.blocks == 3 * 9


def test_a_scaled_checkpoint_is_refused_until_it_is_told_what_its_scaling_means() -> None:
    model = tiny_llama(rope_type="linear", factor=2.0)
    with pytest.raises(ValueError, match=r"compose.*replace"):
        run(model, tiny_text(), Plan(("ntk",)))
    assert trained_length(model, Plan(("ntk",), on_scaled="compose")) == TRAINED
    composed, _ = run(model, tiny_text(), Plan(("none",), on_scaled="compose"))
    replaced, _ = run(model, tiny_text(), Plan(("none",), on_scaled="replace", original_max_length=16))
    torch.testing.assert_close(composed.nll, token_nll(model, tiny_text()), atol=1e-5, rtol=0)
    torch.testing.assert_close(replaced.nll, token_nll(tiny_llama(), tiny_text()), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("schemes", "window", "message"),
    [
        ((), False, "nothing to run"),
        (("ntk", "none", "ntk"), True, "asked for twice: ntk"),
        (("nkt",), True, "did you mean 'ntk'"),
    ],
)
def test_a_plan_is_checked_before_it_runs(schemes: tuple[str, ...], window: bool, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Plan(schemes, window)


def test_a_batch_holds_at_least_one_text() -> None:
    with pytest.raises(ValueError, match=r"--batch-size must be at least 1 text, got 0"):
        Plan(("none",), batch_size=0)
