"""Negative log-likelihood of every token of long texts, from chunked forward passes over a KV cache."""

import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from rope_scaling.eval.devices import input_device
from rope_scaling.patches import rope_length

Tick = Callable[[int], None]  # called after every forward pass with the number of tokens it read


def _silent(tokens: int) -> None:
    """Report nothing."""


@torch.inference_mode()
def token_nll(
    model: torch.nn.Module, input_ids: Tensor, *, first: int = 1, chunk: int = 512, tick: Tick = _silent
) -> Tensor:
    """Score `input_ids[..., first:]`, each token given all tokens before it.

    Never more than `chunk` positions' logits exist at a time; they come from the model's own head, so its
    softcap or logit scale holds, and the cross-entropy is float32 whatever the model's dtype.

    Args:
        model: a causal language model with a KV cache, in evaluation mode.
        input_ids: a text, (tokens,), or several that are read side by side, (texts, tokens).
        first: index of the first token scored; what stands before is only read.
        chunk: tokens read in one forward pass.
        tick: told of each pass.

    Returns:
        Nats, float32, on the CPU, (tokens - first,) or (texts, tokens - first).
    """
    tokens = _checked_tokens(input_ids, first, chunk)
    read = _reader(model)
    texts = input_ids.to(input_device(model)).view(-1, tokens)
    cache: Any = None
    scored: list[Tensor] = []
    for start in range(0, tokens - 1, chunk):
        stop = min(start + chunk, tokens - 1)
        targets = texts[:, max(start + 1, first) : stop + 1]
        wanted = targets.shape[1]
        output = read(texts[:, start:stop], cache, wanted)
        cache = output.past_key_values
        if wanted:
            logits = output.logits[:, -wanted:].flatten(0, 1).float()  # (texts * wanted, vocabulary)
            nll = torch.nn.functional.cross_entropy(logits, targets.flatten().to(logits.device), reduction="none")
            scored.append(nll.view(len(texts), wanted).cpu())
        tick(len(texts) * (stop - start))
    return _finite(torch.cat(scored, dim=1), first).view(*input_ids.shape[:-1], -1)


def planned_nll(
    model: torch.nn.Module,
    input_ids: Tensor,
    *,
    length: int,
    edges: Sequence[int] = (),
    chunk: int = 512,
    tick: Tick = _silent,
) -> Tensor:
    """Score each range of positions in a text that ends with the range, scaled for that text's length.

    For a model whose scale follows the length (dynamic scaling): what a user with a text of that length gets. Ranges
    within `length`, where nothing is scaled, are read at once.

    Args:
        model: as for `token_nll`.
        input_ids: as for `token_nll`.
        length: L, the trained length in tokens.
        edges: where ranges end, in tokens; the end of the text is one.
        chunk: tokens read in one forward pass.
        tick: told of each pass.

    Returns:
        Nats, float32, on the CPU, (tokens - 1,) or (texts, tokens - 1).
    """
    parts, start = [], 0
    for stop in planned_stops(input_ids.shape[-1], length, edges):
        with rope_length(model, stop):
            text = input_ids[..., :stop]
            parts.append(token_nll(model, text, first=max(start, 1), chunk=chunk, tick=tick))
        start = stop
    return torch.cat(parts, dim=-1)


def planned_stops(tokens: int, length: int, edges: Sequence[int] = ()) -> list[int]:
    """Return the lengths of the texts that `planned_nll` reads."""
    return sorted({min(tokens, length), tokens, *(edge for edge in edges if length < edge < tokens)})


def window_nll(
    model: torch.nn.Module,
    input_ids: Tensor,
    *,
    length: int,
    stride: int,
    bos: bool = False,
    chunk: int = 512,
    tick: Tick = _silent,
) -> Tensor:
    """Score `input_ids[..., length:]` by a model that sees only the last `length` tokens.

    Its window is read anew every `stride` tokens.

    Each starts from an empty cache, so nothing outside of it can leak in; each scored token sees at least
    `length - stride` and at most `length` tokens. With `bos`, every window keeps the text's first token in
    place of its oldest, as a model trained with one expects.

    Returns:
        Nats, float32, on the CPU, (tokens - length,) or (texts, tokens - length).
    """
    if not 1 <= stride < length:
        raise ValueError(f"stride must be from 1 to {length - 1} (window length {length}), got {stride}")
    return torch.cat(
        [
            token_nll(model, window, first=window.shape[-1] - scored, chunk=chunk, tick=tick)
            for window, scored in _windows(input_ids, length, stride, bos)
        ],
        dim=-1,
    )


def window_work(tokens: int, length: int, stride: int) -> int:
    """Return how many tokens `window_nll` reads for a text of `tokens`."""
    return length * len(range(length, tokens, stride))


def _windows(input_ids: Tensor, length: int, stride: int, bos: bool) -> Iterator[tuple[Tensor, int]]:
    """Yield each window, the last token scored included, and how many of its tokens are scored."""
    tokens = input_ids.shape[-1]
    for start in range(length, tokens, stride):
        stop = min(start + stride, tokens)
        window = input_ids[..., stop - 1 - length : stop]  # (..., length + 1)
        if bos:
            window = torch.cat([input_ids[..., :1], window[..., 1:]], dim=-1)
        yield window, stop - start


def _reader(model: torch.nn.Module) -> Callable[[Tensor, Any, int], Any]:
    """Return the forward pass after a cache, with logits for the last few tokens where the model can."""
    takes_keep = "logits_to_keep" in inspect.signature(model.forward).parameters

    def read(input_ids: Tensor, cache: Any, logits: int) -> Any:
        keep = {"logits_to_keep": max(logits, 1)} if takes_keep else {}  # 0 would mean all of them
        return model(input_ids, past_key_values=cache, use_cache=True, **keep)

    return read


def _checked_tokens(input_ids: Tensor, first: int, chunk: int) -> int:
    """Return the number of tokens, or say which argument is wrong."""
    if input_ids.ndim not in (1, 2) or 0 in input_ids.shape or input_ids.shape[-1] < 2:
        raise ValueError(
            "input_ids must be (tokens,) or (texts, tokens) with at least 2 tokens a text, "
            f"got shape {tuple(input_ids.shape)}"
        )
    tokens = input_ids.shape[-1]
    if not 1 <= first < tokens:
        raise ValueError(f"first must be from 1 to {tokens - 1} (the last token), got {first}")
    if chunk < 1:
        raise ValueError(f"chunk must be at least 1 token, got {chunk}")
    return tokens


def _finite(nll: Tensor, first: int) -> Tensor:
    """Return `nll`, or say where the model's output stopped being numbers."""
    bad = (~torch.isfinite(nll)).nonzero()  # (count, 2): text, token
    if len(bad):
        where = first + int(bad[:, 1].min())
        raise ValueError(f"the model's loss is not finite from token {where} on: try a wider dtype, e.g. float32")
    return nll
