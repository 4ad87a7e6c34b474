"""The laws that can be seen in the logits of a sequence: only relative positions count, and nothing looks ahead."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rope_scaling.patches.laws.law import LawResult, judge, undecided
from rope_scaling.patches.laws.watch import hooked, unit_roundoff

_MARGIN = 4
"""Times the rounding noise; 2 to 8 layers of 20 architectures and SmolLM2 in 3 dtypes stay within 1.4 times."""
_CACHED = 8
_RECURRENT = 1e-4
"""What stepping through a state-space layer instead of scanning it may do in float32 (nemotron_h: 2e-5)."""


@dataclass(frozen=True)
class Reference:
    """One sequence, its logits, and how far rounding alone moves them.

    Attributes:
        model: In eval mode.
        input_ids: (1, tokens).
        logits: (1, tokens, vocab), at positions 0, 1, 2, ...
        noise: Relative change of the logits when every embedded number is moved by one unit in its last place.
    """

    model: nn.Module
    input_ids: Tensor
    logits: Tensor
    noise: float

    @classmethod
    def of(cls, model: nn.Module, input_ids: Tensor) -> Reference:
        """Run the model twice, once with the noise."""
        plain = run(model, input_ids)
        with hooked([model.get_input_embeddings()], _jiggled):  # type: ignore[operator]
            moved = relative(run(model, input_ids), plain)
        return cls(model, input_ids, plain, max(moved, unit_roundoff(model)))

    @property
    def bound(self) -> float:
        """What rounding is allowed."""
        return _MARGIN * self.noise


@torch.no_grad()
def run(model: nn.Module, input_ids: Tensor, position_ids: Tensor | None = None) -> Tensor:
    """Logits of a forward pass without padding, (rows, tokens, vocab)."""
    placed = {} if position_ids is None else {"position_ids": position_ids}
    logits: Tensor = model(input_ids, attention_mask=torch.ones_like(input_ids), use_cache=False, **placed).logits
    return logits


def relative(logits: Tensor, reference: Tensor) -> float:
    """‖difference‖ / ‖reference‖, of logits whose mean over the vocabulary, which softmax cannot see, is taken out."""
    logits, reference = logits.double(), reference.double()
    logits, reference = (x - x.mean(dim=-1, keepdim=True) for x in (logits, reference))
    return float((logits - reference).norm() / reference.norm())


def shift_law(reference: Reference, shift: int, absolute: str | None) -> LawResult:
    """Shifting all positions by a constant leaves the logits unchanged; `absolute` tells why they need not."""
    name, model, ids = "shift", reference.model, reference.input_ids
    if not _takes_positions(model):
        return undecided(name, "does not apply: the model takes no position_ids")
    positions = torch.arange(ids.shape[1], device=ids.device)[None]  # (1, tokens)
    # angles are float32 in any dtype: p·θ is off by p / 2^24 radians, here counted in units of the noise
    angle = (shift + ids.shape[1]) * 2.0**-24 / (8 * unit_roundoff(model))
    bound = reference.bound * max(1.0, angle)
    reaction = relative(run(model, ids, 2 * positions), reference.logits)
    if reaction == 0:
        return undecided(name, "does not apply: the model ignores position_ids", reaction, bound)
    if reaction < 2 * bound:
        told = "cannot be told: positions change the logits hardly more than rounding does; load the model in float32"
        return undecided(name, told, reaction, bound)
    measured = relative(run(model, ids, positions + shift), reference.logits)
    if measured > bound and absolute is not None:
        return undecided(name, f"does not apply: {absolute}", measured, bound)
    holds = f"positions moved by {shift} give the same logits (doubled ones change them by {reaction:.2g})"
    return judge(name, measured, bound, holds, f"positions moved by {shift} change the logits: some are absolute")


def suffix_law(reference: Reference) -> LawResult:
    """Adding tokens at the end changes nothing before."""
    kept = _kept(reference)
    measured = relative(run(reference.model, reference.input_ids[:, :kept]), reference.logits[:, :kept])
    return judge(
        "suffix",
        measured,
        reference.bound,
        f"{reference.input_ids.shape[1] - kept} tokens added at the end change nothing before them",
        "tokens added at the end change the logits before them: the model is not causal, or its frequencies "
        "follow the length",
    )


def cache_law(reference: Reference) -> LawResult:
    """Decoding with a cache gives the logits of one full forward pass."""
    steps = list(_decoded(reference))
    if len(steps) < 2:
        return undecided("cache", "does not apply: the model returns no past_key_values")
    measured = relative(torch.cat(steps, dim=1), reference.logits[:, _kept(reference) - 1 :])
    return judge(
        "cache",
        measured,
        max(reference.bound, _RECURRENT),
        "decoding token by token with a cache gives the logits of one full pass",
        "decoding with a cache gives other logits than one full pass: cached keys are placed or masked wrongly",
    )


@torch.no_grad()
def _decoded(reference: Reference) -> Iterator[Tensor]:
    """Logits of the last tokens, (1, 1, vocab) each, from a cache that the first tokens filled."""
    kept = _kept(reference)
    out = reference.model(reference.input_ids[:, :kept], use_cache=True)
    yield out.logits[:, -1:]
    for at in range(kept, reference.input_ids.shape[1]):
        cache = getattr(out, "past_key_values", None)
        if cache is None:
            return
        out = reference.model(reference.input_ids[:, at : at + 1], past_key_values=cache, use_cache=True)
        yield out.logits


def _takes_positions(model: nn.Module) -> bool:
    parameters = inspect.signature(model.forward).parameters
    return "position_ids" in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def _kept(reference: Reference) -> int:
    tokens = reference.input_ids.shape[1]
    return tokens - min(_CACHED, tokens // 2)


def _jiggled(embedded: Tensor) -> Tensor:
    signs = torch.randint(0, 2, embedded.shape, generator=torch.Generator().manual_seed(0), device="cpu") * 2 - 1
    return embedded * (1 + torch.finfo(embedded.dtype).eps * signs.to(embedded.device, embedded.dtype))
