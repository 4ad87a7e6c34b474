from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from rope_scaling.eval.perplexity import token_nll, window_nll, window_work
from rope_scaling.patches import patched
from tests.eval.tiny import TRAINED, tiny_llama, tiny_text


@torch.no_grad()
def whole_nll(model: torch.nn.Module, input_ids: Tensor) -> Tensor:
    """The textbook way: one forward pass, all logits at once."""
    logits = model(input_ids[None]).logits[0, :-1].float()
    return torch.nn.functional.cross_entropy(logits, input_ids[1:], reduction="none")


@pytest.mark.parametrize("chunk", [1, 7, 32, 99, 100, 512])
def test_chunked_scores_equal_one_whole_forward(chunk: int) -> None:
    model, text = tiny_llama(), tiny_text()
    torch.testing.assert_close(token_nll(model, text, chunk=chunk), whole_nll(model, text), atol=1e-5, rtol=0)


@pytest.mark.parametrize("first", [1, 2, 40, 99])
@pytest.mark.parametrize("chunk", [16, 40, 99])
def test_only_the_tokens_asked_for_are_scored(first: int, chunk: int) -> None:
    model, text = tiny_llama(), tiny_text()
    got = token_nll(model, text, first=first, chunk=chunk)
    torch.testing.assert_close(got, whole_nll(model, text)[first - 1 :], atol=1e-5, rtol=0)


@pytest.mark.parametrize("bos", [False, True])
@pytest.mark.parametrize("stride", [1, 4, 5, 31])
def test_window_scores_equal_a_recomputation_token_by_token(stride: int, bos: bool) -> None:
    model, text = tiny_llama(), tiny_text(TRAINED + 21)
    expected = []
    for position in range(TRAINED, len(text)):
        stop = min(position - (position - TRAINED) % stride + stride, len(text))
        seen = text[stop - 1 - TRAINED : position]
        assert TRAINED - stride < len(seen) <= TRAINED
        if bos:
            seen = torch.cat([text[:1], seen[1:]])
        expected.append(whole_nll(model, torch.cat([seen, text[position : position + 1]]))[-1])
    got = window_nll(model, text, length=TRAINED, stride=stride, bos=bos, chunk=10)
    torch.testing.assert_close(got, torch.stack(expected), atol=1e-5, rtol=0)


def test_window_scores_do_not_depend_on_tokens_outside_the_window() -> None:
    model, text = tiny_llama(), tiny_text(TRAINED + 8)
    other = torch.cat([text[:7].flip(0), text[7:]])
    assert not torch.equal(text, other)
    a, b = (window_nll(model, t, length=TRAINED, stride=8) for t in (text, other))
    assert torch.equal(a, b)


def test_texts_read_side_by_side_score_as_each_alone() -> None:
    model, texts = tiny_llama(), torch.stack([tiny_text(TRAINED + 21), tiny_text(TRAINED + 21).flip(0)])
    alone = torch.stack([token_nll(model, text, first=9, chunk=7) for text in texts])
    torch.testing.assert_close(token_nll(model, texts, first=9, chunk=7), alone, atol=1e-5, rtol=0)
    alone = torch.stack([window_nll(model, text, length=TRAINED, stride=5, bos=True) for text in texts])
    got = window_nll(model, texts, length=TRAINED, stride=5, bos=True)
    torch.testing.assert_close(got, alone, atol=1e-5, rtol=0)


def test_patched_scores_equal_those_of_the_native_model() -> None:
    text = tiny_text()
    native = token_nll(tiny_llama(rope_type="linear", factor=2.0), text, chunk=30)
    model = tiny_llama()
    with patched(model, "linear", factor=2):
        ours = token_nll(model, text, chunk=30)
    torch.testing.assert_close(ours, native, atol=4e-6, rtol=0)
    assert not torch.allclose(ours, token_nll(model, text, chunk=30), atol=1e-2)


def test_never_more_logits_than_asked_for() -> None:
    model, text = tiny_llama(), tiny_text()
    sizes: list[int] = []
    model.lm_head.register_forward_hook(lambda module, args, output: sizes.append(output.shape[1]))
    token_nll(model, text, first=90, chunk=25)
    assert sizes == [1, 1, 1, 10]


def test_work_counts_the_tokens_that_are_read() -> None:
    model, text = tiny_llama(), tiny_text()
    read: list[int] = []
    window_nll(model, text, length=TRAINED, stride=5, chunk=9, tick=read.append)
    assert sum(read) == window_work(len(text), TRAINED, 5)


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (torch.ones(1, dtype=torch.long), {}, "at least 2 tokens"),
        (torch.ones(2, 5, 1, dtype=torch.long), {}, r"or \(texts, tokens\)"),
        (torch.ones(0, 5, dtype=torch.long), {}, r"got shape \(0, 5\)"),
        (tiny_text(), {"first": 0}, "first must be from 1 to 99"),
        (tiny_text(), {"chunk": 0}, "chunk must be at least 1"),
    ],
)
def test_bad_arguments_say_what_is_wrong(text: Tensor, options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        token_nll(tiny_llama(), text, **options)


@pytest.mark.parametrize("stride", [0, TRAINED])
def test_a_stride_must_leave_something_to_see(stride: int) -> None:
    with pytest.raises(ValueError, match="stride must be from 1 to 31"):
        window_nll(tiny_llama(), tiny_text(), length=TRAINED, stride=stride)


def test_scores_that_are_not_numbers_are_an_error_that_says_where() -> None:
    model = tiny_llama()

    def broken(input_ids: Tensor, **options: object) -> SimpleNamespace:
        logits = torch.zeros(1, input_ids.shape[1], 300)
        logits[0, 9] = torch.nan
        return SimpleNamespace(logits=logits, past_key_values=None)

    model.forward = broken  # type: ignore[method-assign, assignment]
    with pytest.raises(ValueError, match="not finite from token 10 on"):
        token_nll(model, tiny_text(20))
