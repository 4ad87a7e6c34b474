"""Many schemes over the same tokens of the same texts, each in one pass, judged against simply cutting them."""

import contextlib
import functools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rope_scaling.eval.bins import at, perplexity
from rope_scaling.eval.perplexity import planned_nll, planned_stops, token_nll, window_nll, window_work
from rope_scaling.eval.verdict import Comparison, compare
from rope_scaling.patches import describe, patched
from rope_scaling.schemes import DynamicScaling, Scheme, parse_scheme

WINDOW = "window"
Watch = Callable[[str, int], None]  # called with the row at work and the tokens just read
Score = Callable[[Tensor], Tensor]
Keep = Callable[[torch.nn.Module, Tensor, Mapping[str, Any], int, Score], tuple[Tensor, float]]
"""Gives the scores of texts, (texts, tokens), and the seconds that they took, from where they are kept or by computing
them; told the model, the texts, what the scores depend on beside both, and the tokens that each text takes."""


@dataclass(frozen=True)
class Plan:
    """What to run.

    Attributes:
        schemes: as typed: `yarn:factor=2`.
        window: whether to run the baseline, the unscaled model that sees only the last L tokens.
        chunk: tokens read in one forward pass.
        stride: tokens by which the window moves; L / 8 unless given.
        batch_size: texts read side by side, where there are several.
        on_scaled: what a scaled checkpoint's own scaling means, see `patch_model`.
        original_max_length: L, where the config's own value is not to be believed.
        edges: where ranges of positions end; a dynamic scheme reads a text for each that ends past L.
    """

    schemes: tuple[str, ...]
    window: bool = True
    chunk: int = 512
    stride: int | None = None
    on_scaled: str | None = None
    original_max_length: int | None = None
    batch_size: int = 1
    edges: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"--batch-size must be at least 1 text, got {self.batch_size}")
        if not self.schemes and not self.window:
            raise ValueError("nothing to run: ask for a --scheme or for --window")
        twice = {text for text in self.schemes if self.schemes.count(text) > 1}
        if twice:
            raise ValueError(f"schemes asked for twice: {', '.join(sorted(twice))}")
        for text in self.schemes:
            parse_scheme(text)  # a typing mistake must not wait for its turn

    @property
    def patch(self) -> dict[str, Any]:
        """The keywords `patched` gets for every row."""
        return {"on_scaled": self.on_scaled, "original_max_length": self.original_max_length}


@dataclass(frozen=True)
class Row:
    """One scheme's scores.

    Attributes:
        name: the scheme as typed, or `window`.
        nll: nats of every token after the first, (tokens - 1,) or (texts, tokens - 1).
        seconds: time spent on this row alone.
        max_length: the length the scheme is made for; None where it is scaled for none.
        tax: perplexity within L over the unscaled model's, minus 1; None where the unscaled was not run.
        versus_window: the verdict; None where no token stands past L, or nothing was run to compare with.
    """

    name: str
    nll: Tensor
    seconds: float
    max_length: int | None = None
    tax: float | None = None
    versus_window: Comparison | None = None


def trained_length(model: torch.nn.Module, plan: Plan) -> int:
    """Return L, as every scheme of the plan will take it."""
    with patched(model, "none", **plan.patch):
        return describe(model).original_max_position_embeddings


def work(plan: Plan, tokens: int, length: int) -> dict[str, int]:
    """Return how many tokens of each text a row reads."""
    reads = dict.fromkeys(plan.schemes, tokens - 1)
    for text in (text for text in plan.schemes if _is_dynamic(text)):
        reads[text] = sum(stop - 1 for stop in planned_stops(tokens, length, plan.edges))
    if plan.window:
        stride = plan.stride or default_stride(length)
        within = 0 if _plain(plan.schemes) else min(tokens, length) - 1
        reads[WINDOW] = within + window_work(tokens, length, stride)
    return reads


def default_stride(length: int) -> int:
    """Return L / 8: every scored token sees at least 7/8 of what it could."""
    return max(length // 8, 1)


def run(
    model: torch.nn.Module,
    input_ids: Tensor,
    plan: Plan,
    *,
    bos: bool = False,
    watch: Watch = lambda row, n: None,
    keep: Keep | None = None,
) -> tuple[Row, ...]:
    """Score one text, (tokens,), or several, (texts, tokens), under every scheme and, last, `window`.

    Each row is then compared with the unscaled model within L, and with `window` past it.
    """
    length = trained_length(model, plan)
    keep = keep or _computed
    rows = [_scheme_row(model, input_ids, text, plan, watch, keep) for text in plan.schemes]
    plain = _plain(plan.schemes)
    unscaled = next((row.nll for row in rows if row.name == plain), None)
    if plan.window:
        rows.append(_window_row(model, input_ids, unscaled, length, plan, bos, watch, keep))
        unscaled = rows[-1].nll
    return tuple(_judged(row, unscaled, length, plan.window) for row in rows)


def _is_dynamic(text: str) -> bool:
    return isinstance(parse_scheme(text), DynamicScaling)


def _plain(schemes: Sequence[str]) -> str | None:
    """Return the one among the schemes that leaves the frequencies alone."""
    return next((text for text in schemes if parse_scheme(text).name == "none"), None)


def _scheme_row(model: torch.nn.Module, input_ids: Tensor, text: str, plan: Plan, watch: Watch, keep: Keep) -> Row:
    scheme, tokens = parse_scheme(text), input_ids.shape[-1]
    with _scaled(model, scheme, plan):
        max_length = None if scheme.name == "none" else describe(model).max_length
        read: Any = token_nll
        how: dict[str, Any] = {}
        reads = tokens - 1
        if _is_dynamic(text):
            length = describe(model).original_max_position_embeddings
            read = functools.partial(planned_nll, length=length, edges=plan.edges)
            stops = planned_stops(tokens, length, plan.edges)
            how, reads = {"stops": stops}, sum(stop - 1 for stop in stops)
        score = functools.partial(read, model, chunk=plan.chunk, tick=lambda tokens: watch(text, tokens))
        nll, seconds = _in_batches(model, score, input_ids, plan.batch_size, how, reads, keep)
    return Row(text, nll, seconds, max_length)


def _in_batches(
    model: torch.nn.Module,
    score: Score,
    input_ids: Tensor,
    size: int,
    how: Mapping[str, Any],
    reads: int,
    keep: Keep,
) -> tuple[Tensor, float]:
    """Return the scores of all texts, of the shape that they have, and the seconds they took."""
    texts = input_ids.view(-1, input_ids.shape[-1])
    found = [keep(model, part, how, reads, score) for part in torch.split(texts, size)]
    nll = torch.cat([one for one, _ in found])
    return nll.view(*input_ids.shape[:-1], -1), sum(seconds for _, seconds in found)


def _computed(
    model: torch.nn.Module, texts: Tensor, how: Mapping[str, Any], reads: int, score: Score
) -> tuple[Tensor, float]:
    """Keep nothing."""
    start = time.perf_counter()
    return score(texts), time.perf_counter() - start


def _window_row(
    model: torch.nn.Module,
    input_ids: Tensor,
    unscaled: Tensor | None,
    length: int,
    plan: Plan,
    bos: bool,
    watch: Watch,
    keep: Keep,
) -> Row:
    """Score within L by the plain model, or take `unscaled`'s scores there; past L window by window."""

    def tick(tokens: int) -> None:
        watch(WINDOW, tokens)

    tokens, within, past = input_ids.shape[-1], 0.0, 0.0
    with _scaled(model, parse_scheme("none"), plan):
        if unscaled is None:
            read = functools.partial(token_nll, model, chunk=plan.chunk, tick=tick)
            start = input_ids[..., :length].contiguous()
            unscaled, within = _in_batches(model, read, start, plan.batch_size, {}, start.shape[-1] - 1, keep)
        nll = at(unscaled, 0, length)
        if tokens > length:
            stride = plan.stride or default_stride(length)
            cut = functools.partial(
                window_nll, model, length=length, stride=stride, bos=bos, chunk=plan.chunk, tick=tick
            )
            how = {"window": length, "stride": stride, "bos": bos}
            reads = window_work(tokens, length, stride)
            windows, past = _in_batches(model, cut, input_ids, plan.batch_size, how, reads, keep)
            nll = torch.cat([nll, windows], dim=-1)
    return Row(WINDOW, nll, within + past)


def _scaled(model: torch.nn.Module, scheme: Scheme, plan: Plan) -> contextlib.AbstractContextManager[Any]:
    return patched(model, scheme, **plan.patch)


def _judged(row: Row, unscaled: Tensor | None, length: int, window: bool) -> Row:
    """Add the cost within L and the verdict past L."""
    if unscaled is None or row.name == WINDOW:
        return row
    tax = perplexity(row.nll, 0, length) / perplexity(unscaled, 0, length) - 1
    past = at(row.nll, length)
    versus = compare(past, at(unscaled, length)) if window and past.shape[-1] else None
    return Row(row.name, row.nll, row.seconds, row.max_length, tax, versus)
