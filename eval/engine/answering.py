"""Questions of lm-eval's `generate_until`, answered by `generate()` as HFLM does, from the cache of a prefix."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from lm_eval.models.utils import handle_stop_sequences, normalize_gen_kwargs, postprocess_generated_text

from rope_scaling.eval.engine.engine import Engine
from rope_scaling.eval.engine.prompts import continue_batch
from rope_scaling.eval.engine.rows import Row, Tokens, row_to_continue
from rope_scaling.eval.engine.trunk import Trunk

KNOWN = frozenset(
    {"do_sample", "temperature", "top_k", "top_p", "min_p", "typical_p", "repetition_penalty", "until"}
    | {"max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens"}
)
"""Options whose meaning does not depend on how a cache was filled."""


@dataclass(frozen=True)
class Question:
    """A prompt and how to answer it.

    Attributes:
        number: of the request.
        ids: the prompt, nothing cut.
        options: as the task gives them.
        budget: tokens of an answer at most.
    """

    number: int
    ids: Tokens
    options: dict[str, Any]
    budget: int

    @property
    def tokens(self) -> int:
        """What question and answer take together."""
        return len(self.ids) + self.budget


def question(lm: Any, number: int, prompt: str, options: dict[str, Any]) -> Question:
    """A request as the model is asked it."""
    ids, _ = lm.tok_batch_encode([prompt], truncation=lm.truncation)
    normalized: dict[str, Any] = dict(normalize_gen_kwargs(options, lm.max_gen_toks))
    prompt_ids = [int(one) for one in ids[0].tolist()] or [lm.prefix_token_id]
    return Question(number, prompt_ids, options, normalized["max_gen_toks"])


def answerable(one: Question) -> bool:
    """Whether it can be answered from a cache; beams and the like make caches of their own."""
    return one.options.keys() <= KNOWN


def answer(lm: Any, engine: Engine, questions: Sequence[Question], done: Callable[[Question, str], None]) -> None:
    """Answer questions, those with the same options side by side, and tell `done` of each."""
    groups: dict[str, list[Question]] = {}
    for one in questions:
        groups.setdefault(repr(one.options), []).append(one)
    for group in groups.values():
        _answer_alike(lm, engine, {one.number: one for one in group}, done)


def _answer_alike(
    lm: Any, engine: Engine, questions: dict[int, Question], done: Callable[[Question, str], None]
) -> None:
    first = next(iter(questions.values()))
    options: dict[str, Any] = dict(normalize_gen_kwargs(first.options, lm.max_gen_toks))
    eos = lm.tok_decode(lm.eot_token_id, skip_special_tokens=False)
    until = handle_stop_sequences(options.pop("until", None), eos=eos)
    room = lm.max_length - options.pop("max_gen_toks")
    if room < 1:
        raise ValueError(
            f"{first.budget} tokens to generate leave no room for a prompt in a model of {lm.max_length}: "
            "lower max_gen_toks, or raise factor or max_length"
        )
    rows = [row_to_continue(one.number, one.ids[-room:], one.budget) for one in questions.values()]
    generate = partial(lm._model_generate, stop=until, **options)

    def use(trunk: Trunk, batch: list[Row]) -> None:
        answers = continue_batch(engine.reader, trunk, batch, lm.tokenizer.pad_token_id, generate)
        for row, tokens in zip(batch, answers, strict=True):
            done(questions[row.wants[0].request], _text(lm, tokens, until))

    engine.run(rows, lm.batch_rule, use)


def _text(lm: Any, tokens: Tokens, until: list[str]) -> str:
    """What HFLM makes of generated tokens: no thoughts, nothing from the first stop sequence on."""
    end: int | str | None = lm.think_end_token
    if isinstance(end, int) and end in tokens:
        tokens = tokens[len(tokens) - tokens[::-1].index(end) :]
    text: str = lm.tok_decode(tokens)
    text = text.lstrip() if isinstance(end, int) else text
    cut: str = postprocess_generated_text(
        generation=text, stop=until, think_end_token=end if isinstance(end, str) else None
    )
    return cut
