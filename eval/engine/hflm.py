"""lm-eval's Hugging Face model with its requests read by the engine, and nothing cut without leave."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import torch
from lm_eval import utils
from torch import Tensor
from tqdm import tqdm
from transformers import LogitsProcessorList

from rope_scaling.eval.engine.answering import Question, answer, answerable, question
from rope_scaling.eval.engine.divided import DividedHFLM
from rope_scaling.eval.engine.engine import Engine, EngineOptions
from rope_scaling.eval.engine.finite import FiniteLogits
from rope_scaling.eval.engine.lengths import by_scale, frozen_length
from rope_scaling.eval.engine.rows import Row, Tokens, rows_to_score
from rope_scaling.eval.engine.schedule import BatchRule
from rope_scaling.eval.engine.score import score_batch
from rope_scaling.eval.engine.trunk import Trunk
from rope_scaling.eval.truncation import Truncation

Request = tuple[Any, Tokens, Tokens]  # what the response cache is asked by, context, continuation
Score = tuple[float, bool]  # log-likelihood, whether greedy decoding says the same

log = logging.getLogger(__name__)


class EngineHFLM(DividedHFLM):
    """HFLM that reads in chunks, shares prefixes, and refuses requests that are longer than the model.

    Log-likelihoods are float32 whatever the model's dtype, or `softmax_dtype`. A model whose cache does not allow it
    is read as HFLM reads it.

    Args:
        chunk: tokens of a text that one forward pass reads at most.
        cache_gb: billions of bytes of keys and values at most; None for what batches of `batch_size` take.
        allow_truncation: let requests that are too long lose their beginning, counted, instead of refusing them.
        options: those of `DividedHFLM` and of HFLM.
    """

    def __init__(
        self,
        *args: Any,
        chunk: int = 512,
        cache_gb: float | None = None,
        allow_truncation: bool = False,
        **options: Any,
    ) -> None:
        self.engine_options = EngineOptions(chunk, cache_gb)
        self.truncation_policy = Truncation(allow_truncation)
        self._heard: dict[tuple[str, str], list[float]] | None = None
        super().__init__(*args, **options)

    @cached_property
    def engine(self) -> Engine:
        """Made when it is first needed: the model has its final frequencies then."""
        engine = Engine(self.model, self.device, self.engine_options, self.mixed_precision_dtype)
        if not engine.abilities.chunks:
            log.warning("rope-hf reads whole texts, with the memory that hf takes: %s", engine.abilities.why_not)
        elif not engine.abilities.sharing:
            log.warning("rope-hf reads shared prefixes anew for every request: %s", engine.abilities.why_not)
        return engine

    @contextmanager
    def listening(self) -> Iterator[dict[tuple[str, str], list[float]]]:
        """Gather the log-likelihood of each token that the engine scores meanwhile, by context and continuation."""
        before, self._heard = self._heard, {}
        try:
            yield self._heard
        finally:
            self._heard = before

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[float]:
        """The log-likelihoods of whole texts, by HFLM's own disjoint windows, all of them in one go."""
        if not self.engine.abilities.chunks:
            return self._roll_plainly(requests, disable_tqdm)
        windows = [self._windows(request.args[0]) for request in requests]
        scores = iter(self._loglikelihood_tokens([one for text in windows for one in text], disable_tqdm))
        totals = [sum(next(scores)[0] for _ in text) for text in windows]
        for request, total in zip(requests, totals, strict=True):
            self.cache_hook.add_partial("loglikelihood_rolling", request.args, total)
        return totals

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """Answers to prompts, what they have in common read once."""
        asked = [question(self, number, *request.args) for number, request in enumerate(requests)]
        self._check_length("generate_until", [one.tokens for one in asked])

        def answers(numbers: Sequence[int]) -> dict[int, str]:
            return self._answers([asked[number] for number in numbers], requests, disable_tqdm)

        texts = self._divided([one.ids for one in asked], answers, [one.budget for one in asked])
        return [texts[number] for number in range(len(asked))]

    def _model_generate(self, *args: Any, **options: Any) -> Tensor:
        """HFLM's `generate()`, refused where the model's logits are not numbers: token 0 would be told, and scored 0.

        Raises:
            ValueError: They are not.
        """
        watch = FiniteLogits()
        try:
            tokens: Tensor = super()._model_generate(*args, **options, logits_processor=LogitsProcessorList([watch]))
        except RuntimeError:  # sampling from what is no distribution
            watch.check()
            raise
        watch.check()
        return tokens

    def _loglikelihood_tokens(
        self, requests: Sequence[Request], disable_tqdm: bool = False, override_bs: int | None = None
    ) -> list[Score]:
        longest = max((len(continuation) for _, _, continuation in requests), default=0)
        if longest > self.max_length:
            raise ValueError(
                f"a continuation of {longest} tokens cannot be scored by a model of {self.max_length}: "
                "raise factor or max_length, or take a task that scores by loglikelihood_rolling"
            )
        self._check_length("loglikelihood", [self._tokens(request) for request in requests])
        read = self._score if self.engine.abilities.chunks else self._score_plainly

        def score(numbers: Sequence[int]) -> dict[int, Score]:
            own = read([requests[number] for number in numbers], disable_tqdm, override_bs)
            return dict(zip(numbers, own, strict=True))

        scores = self._divided([context + continuation for _, context, continuation in requests], score)
        return [scores[number] for number in range(len(requests))]

    def _divided_once(self) -> None:
        works = self.processes.gather(self.engine.reader.work)
        self.engine.work_elsewhere = [work for index, work in enumerate(works) if index != self.processes.index]

    def _score(self, requests: Sequence[Request], disable_tqdm: bool, override_bs: int | None = None) -> list[Score]:
        """By the engine."""
        scores: dict[int, Score] = {}
        with self._bar(len(requests), "loglikelihood", disable_tqdm) as bar:

            def done(number: int, value: float, greedy: bool) -> None:
                scores[number] = value, greedy
                if requests[number][0] is not None:  # a window of loglikelihood_rolling is no request of its own
                    self.cache_hook.add_partial("loglikelihood", requests[number][0], (value, greedy))
                bar.update(1)

            def heard(number: int, tokens: list[float]) -> None:
                if self._heard is not None and requests[number][0] is not None:
                    self._heard[requests[number][0]] = tokens

            def use(trunk: Trunk, batch: list[Row]) -> None:
                score_batch(self.engine.reader, trunk, batch, done, self.softmax_dtype or torch.float32, heard)

            rows = rows_to_score([(context, continuation) for _, context, continuation in requests], self.max_length)
            self.engine.run(rows, self.batch_rule, use)
        return [scores[number] for number in range(len(requests))]

    def _answers(self, asked: Sequence[Question], requests: Sequence[Any], disable_tqdm: bool) -> dict[int, str]:
        """Answers by the engine, and by HFLM where the engine cannot."""
        ours = [one for one in asked if self.engine.abilities.chunks and answerable(one)]
        numbers = {one.number for one in ours}
        plain = [one.number for one in asked if one.number not in numbers]
        answers: dict[int, str] = {}
        if plain:
            theirs = super().generate_until([requests[number] for number in plain], disable_tqdm)
            answers.update(zip(plain, theirs, strict=True))
        with self._bar(len(ours), "generate_until", disable_tqdm) as bar:

            def done(one: Question, text: str) -> None:
                answers[one.number] = text
                self.cache_hook.add_partial("generate_until", requests[one.number].args, text)
                bar.update(1)

            answer(self, self.engine, ours, done)
        return answers

    def _roll_plainly(self, requests: Sequence[Any], disable_tqdm: bool) -> list[float]:
        """HFLM's own way, a part of the texts in each process."""

        def roll(numbers: Sequence[int]) -> dict[int, float]:
            own = super(EngineHFLM, self).loglikelihood_rolling([requests[number] for number in numbers], disable_tqdm)
            return dict(zip(numbers, own, strict=True))

        totals = self._divided([self.tok_encode(request.args[0]) for request in requests], roll)
        return [totals[number] for number in range(len(requests))]

    @property
    def batch_rule(self) -> BatchRule:
        """The batch size that was asked for."""
        return BatchRule(None if self.batch_size == "auto" else int(self.batch_size), int(self.max_batch_size or 1))

    def _score_plainly(self, requests: Sequence[Request], disable_tqdm: bool, override_bs: int | None) -> list[Score]:
        """HFLM's own way, for the requests of one scale after those of another."""
        scores: dict[int, Score] = {}
        numbers = range(len(requests))
        for length, group in by_scale(self.model, numbers, lambda number: self._tokens(requests[number])):
            with frozen_length(self.model, length):
                own = super()._loglikelihood_tokens([requests[n] for n in group], disable_tqdm, override_bs)
            scores.update(zip(group, own, strict=True))
        return [scores[number] for number in numbers]

    def _tokens(self, request: Request) -> int:
        """How many tokens a request makes the model read; the last token is only predicted."""
        _, context, continuation = request
        if self.backend == "seq2seq":
            return max(len(context), len(continuation))
        return len(context) + len(continuation) - 1

    def _windows(self, text: str) -> list[Request]:
        rolling = utils.get_rolling_token_windows(
            token_list=self.tok_encode(text),
            prefix_token=self.prefix_token_id,
            max_seq_len=self.max_length,
            context_len=1,
        )
        return [(None, *utils.make_disjoint_window(window)) for window in rolling]

    def _check_length(self, kind: str, tokens: Sequence[int]) -> None:
        self.truncation_policy.check(kind, tokens, self.max_length)

    def _bar(self, total: int, kind: str, hidden: bool) -> Any:
        return tqdm(total=total, desc=f"Running {kind} requests", disable=hidden or not self.processes.is_first)
