"""A model for lm-eval that answers from a store what was answered before, and keeps every other answer as it comes."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import torch

from rope_scaling.eval.engine.finite import not_finite
from rope_scaling.eval.processes import Processes, deal
from rope_scaling.eval.runner.meter import Meter
from rope_scaling.eval.runner.questions import Question, questions, units
from rope_scaling.eval.store.answers import Answers
from rope_scaling.eval.store.kept import fits
from rope_scaling.eval.store.keys import digest
from rope_scaling.eval.store.numbers import packed
from rope_scaling.eval.verdict import BLOCK

if TYPE_CHECKING:
    from rope_scaling.eval.lm import RopeHFLM

    LM: Any = object  # lm-eval's, of which little is typed
else:
    from lm_eval.api.model import LM


class StoredLM(LM):  # type: ignore[misc]  # see above
    """Answers what is missing in units, in the order of the tasks; each is kept before the next begins.

    Args:
        model: that computes.
        answers: what is kept.
        identity: what the model's answers are kept under, see `store.keys.identity`.
        meter: told of every question.
        label: what the meter shows.

    Attributes:
        key: what answers are kept under.
        seen: the tokens of every question that the meter was told of.
    """

    def __init__(
        self, model: RopeHFLM, answers: Answers, identity: Mapping[str, Any], meter: Meter, label: str = ""
    ) -> None:
        super().__init__()
        self.model, self.answers, self.identity, self.meter, self.label = model, answers, identity, meter, label
        self.key = digest(identity)
        self.seen: dict[str, int] = {}

    def __getattr__(self, name: str) -> Any:
        if name == "model":  # not there yet: an error in `__init__`
            raise AttributeError(name)
        return getattr(self.model, name)

    def loglikelihood(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """Log-likelihoods of continuations, and whether each is what greedy decoding says."""
        return [(float(value), bool(greedy)) for value, greedy in self._answer("loglikelihood", requests)]

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[float]:
        """Log-likelihoods of whole texts."""
        return [float(value) for value in self._answer("loglikelihood_rolling", requests)]

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """Texts that go on from prompts."""
        return [str(value) for value in self._answer("generate_until", requests)]

    def _answer(self, kind: str, requests: Sequence[Any]) -> list[Any]:
        found: dict[int, Any] = {}
        asked = list(units(questions(kind, requests), self._rows))
        for unit in self._own(asked):
            self._complete(kind, unit)
        self.answers.exchange()
        for unit in asked:
            for question in unit:
                answers = self._kept(kind, question)
                found |= {id(request): one for request, one in zip(question.requests, answers, strict=True)}
        return [found[id(request)] for request in requests]

    def _kept(self, kind: str, question: Question) -> Sequence[Any]:
        """Return the answers that are in the store.

        Raises:
            ValueError: They are to no such question.
        """
        answers: Sequence[Any] = self.answers.get(self.key, question.key)
        if not fits(kind, answers, len(question.requests)):
            told = f"'answers' has {question.key!r} = {str(answers)[:60]}, which is no answer to its question"
            raise self.answers.broken(self.key, question.key, told)
        return answers

    def _own(self, asked: Sequence[Sequence[Question]]) -> list[Sequence[Question]]:
        """Return the units that this process answers, and those that nobody need answer."""
        if self.processes.count == 1:
            return list(asked)
        missing = [unit for unit in asked if any(self.answers.get(self.key, one.key) is None for one in unit)]
        self.processes.agree(digest([self.key, [[question.key for question in unit] for unit in missing]]))
        parts = deal([sum(question.tokens for question in unit) for unit in missing], self.processes.count)
        own = {id(missing[number]) for number in parts[self.processes.index]}
        others = {id(unit): unit for unit in missing if id(unit) not in own}
        elsewhere = [question.key for unit in others.values() for question in unit]
        self.seen = dict.fromkeys(elsewhere, 0) | self.seen  # this process's meter hears nothing of them
        return [unit for unit in asked if id(unit) not in others]

    def _complete(self, kind: str, unit: Sequence[Question]) -> None:
        """Answer what of a unit is not in the store."""
        missing = [question for question in unit if self.answers.get(self.key, question.key) is None]
        self.meter.skip(self._tokens([question for question in unit if question not in missing]))
        if not missing:
            return
        start = time.perf_counter()
        requests = [request for question in missing for request in question.requests]
        listening: AbstractContextManager[Any] = getattr(self.model, "listening", lambda: nullcontext({}))()
        with listening as heard:
            answers = iter(getattr(self.model, kind)(requests, disable_tqdm=True))
        kept = {question.key: [_plain(next(answers)) for _ in question.requests] for question in missing}
        _refuse_no_numbers(kept.values())
        self.answers.add(self.identity, kept, time.perf_counter() - start, _nll(missing, heard))
        self.meter.advance(self._tokens(missing), self.label)

    def _tokens(self, questions: Sequence[Question]) -> int:
        """Return the tokens of those that the meter was not told of before: they may be asked in several rounds."""
        new = {question.key: question.tokens for question in questions if question.key not in self.seen}
        self.seen |= new
        return sum(new.values())

    @property
    def _rows(self) -> int:
        size = self.model.batch_size
        return int(size) if str(size).isdigit() else 1

    @property
    def processes(self) -> Processes:
        """Those that share the questions."""
        return self.answers.processes

    @property
    def device(self) -> Any:
        """Where the model is."""
        return self.model.device


def _nll(asked: Iterable[Question], heard: Mapping[Any, Sequence[float]]) -> dict[str, str]:
    """Return the nats of each token of those that are texts of a block at least, as far as the model told them."""
    texts = {one.key: heard.get(one.requests[0].args) for one in asked if one.document.get("scored_tokens", 0) >= BLOCK}
    return {key: packed(-torch.tensor(tokens)) for key, tokens in texts.items() if tokens}


def _refuse_no_numbers(kept: Iterable[Sequence[Any]]) -> None:
    """Raise ValueError for log-likelihoods that are no numbers: the first of such choices would count as chosen."""
    for answers in kept:
        for answer in answers:
            value = answer[0] if isinstance(answer, list) else answer
            if isinstance(value, float) and math.isnan(value):
                raise not_finite()


def _plain(answer: Any) -> Any:
    """Return an answer as JSON can hold it."""
    return [float(answer[0]), bool(answer[1])] if isinstance(answer, tuple) else answer
