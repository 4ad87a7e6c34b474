"""Whether a text is read better under another reading of the same weights, token by token."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn

from rope_scaling.patches.laws.law import LawResult, undecided
from rope_scaling.patches.laws.watch import input_device

CLEAR = 0.02  # nats per token
_SIGMAS = 3
_BLOCK = 16  # tokens: neighbours' losses go together
_BLOCKS = 8  # the least
_CHANCE = 0.9  # of the nats that guessing evenly costs

Readings: TypeAlias = "Mapping[str, Callable[[], AbstractContextManager[nn.Module]]]"
"""In words -> a context that gives the model which reads so."""


@dataclass(frozen=True)
class Rival:
    """What a text costs under another reading.

    Attributes:
        name: The reading, in words.
        cost: Nats per token more than as the model is; negative where the rival reads better.
        z: `cost` in standard errors of 16-token blocks.
        guesses: Whether it reads hardly better than chance.
    """

    name: str
    cost: float
    z: float
    guesses: bool

    @property
    def wins(self) -> bool:
        """Reads better beyond doubt."""
        return self.cost < -CLEAR and self.z < -_SIGMAS and not self.guesses

    @property
    def loses(self) -> bool:
        """Reads worse beyond doubt."""
        return self.cost > CLEAR and self.z > _SIGMAS


def contest(name: str, model: nn.Module, input_ids: Tensor, own: str, readings: Readings) -> LawResult:
    """Passed where no other reading of a text, (1, tokens), is better than the model's `own`, told in words."""
    ours = losses(model, input_ids)
    if len(ours) < _BLOCK * _BLOCKS:
        return undecided(name, f"cannot be told from fewer than {_BLOCK * _BLOCKS + 1} tokens of text")
    chance = math.log(model.get_input_embeddings().num_embeddings)  # type: ignore[operator]
    met = []
    for rival, reading in readings.items():
        with reading() as other:
            met.append(_compare(rival, losses(other, input_ids), ours, chance))
    guesses = bool(ours.mean() > _CHANCE * chance)
    if guesses and not any(rival.wins for rival in met):
        told = f"the model guesses ({ours.mean():.2f} nats per token, chance is {chance:.2f})"
        return undecided(name, f"cannot be told: {told}; its weights are untrained or badly broken")
    return _verdict(name, met, own)


@torch.no_grad()
def losses(model: nn.Module, input_ids: Tensor) -> Tensor:
    """Nats that each token costs but the first, (tokens - 1,), float64 on the CPU."""
    ids = input_ids.to(input_device(model))
    logits = model(ids, use_cache=False).logits[0, :-1].float()  # (tokens - 1, vocab)
    return nn.functional.cross_entropy(logits, ids[0, 1:].to(logits.device), reduction="none").double().cpu()


def most_to_blame(results: list[LawResult]) -> list[LawResult]:
    """Of several failed contests keep the one that gains the most: one fault makes other readings better, too."""
    failed = [one for one in results if one.passed is False]
    first = max(failed, key=lambda one: one.measured, default=None)
    return [
        undecided(one.name, f"cannot be told before {first.name} is mended", one.measured, one.bound)
        if first is not None and one is not first and one.passed is not True
        else one
        for one in results
    ]


def _verdict(name: str, met: list[Rival], own: str) -> LawResult:
    best = min(met, key=lambda rival: rival.cost)
    winners = [rival for rival in met if rival.wins]
    unclear = [rival.name for rival in met if not rival.wins and not rival.loses]
    if winners:
        first = min(winners, key=lambda rival: rival.cost)
        told = f"the text costs {-first.cost:.2f} nats per token less with {first.name} than with {own}"
        return LawResult(name, False, -first.cost, CLEAR, told)
    if len(unclear) == len(met):
        return undecided(name, f"cannot be told: no other reading differs clearly from {own}", -best.cost, CLEAR)
    rest = f"; too close to tell from it: {', '.join(unclear)}" if unclear else ""
    return LawResult(name, True, -best.cost, CLEAR, f"no other reading of this text is better than with {own}{rest}")


def _compare(name: str, theirs: Tensor, ours: Tensor, chance: float) -> Rival:
    costs = theirs - ours  # (tokens - 1,)
    means = costs[: len(costs) // _BLOCK * _BLOCK].view(-1, _BLOCK).mean(dim=1)  # (blocks,)
    error = float(means.std()) / math.sqrt(len(means))
    z = float(means.mean()) / error if error else 0.0
    return Rival(name, float(costs.mean()), z, bool(theirs.mean() > _CHANCE * chance))
