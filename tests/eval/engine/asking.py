"""Requests that share haystacks, and models to ask, random and tiny."""

from __future__ import annotations

import random
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from transformers import PreTrainedModel

from rope_scaling.eval.engine.hflm import EngineHFLM
from tests.models import tiny_config, tiny_model

LENGTH = 256
"""Tokens of every model; a token is a character."""


def words(rng: random.Random, count: int) -> str:
    return "".join(rng.choice("abcdefghijklmnopqrstuvwxyz .") for _ in range(count)).strip() or "x"


def keyed_pairs(seed: int = 0) -> list[tuple[str, str]]:
    """Four choices for each of three questions about each of two haystacks, and texts that share nothing; shuffled."""
    rng = random.Random(seed)
    pairs = [("", words(rng, 20)), (words(rng, 9), "x "), (words(rng, 60), " y")]
    for haystack in (words(rng, 150) for _ in range(2)):
        for context in (f"{haystack} {words(rng, rng.randint(5, 30))}q" for _ in range(3)):
            pairs += [(context, " " + words(rng, rng.randint(1, 12))) for _ in range(4)]
        pairs += [(haystack, "a"), (haystack, "b")]
    rng.shuffle(pairs)
    return pairs


def scored(pairs: list[tuple[str, str]]) -> list[Instance]:
    return [Instance("loglikelihood", {}, pair, 0) for pair in pairs]


def rolled(*texts: str) -> list[Instance]:
    return [Instance("loglikelihood_rolling", {}, (text,), 0) for text in texts]


def prompted(pairs: list[tuple[str, str]], **options: Any) -> list[Instance]:
    said = {"until": ["q"], "max_gen_toks": 6, "do_sample": False, **options}
    return [Instance("generate_until", {}, (context or "z", dict(said)), 0) for context, _ in pairs]


def model_of(model_type: str = "llama", **changes: Any) -> PreTrainedModel:
    return tiny_model(tiny_config(model_type, **{"vocab_size": 300, "max_position_embeddings": LENGTH, **changes}))


def engine_lm(model: PreTrainedModel, tokenizer: Any, *, share: bool = True, **options: Any) -> EngineHFLM:
    """Our model, which shares wherever it can: a tiny model's forward passes cost more than what they read."""
    lm = EngineHFLM(model, tokenizer=tokenizer, **{"max_length": LENGTH, **options})
    if share:
        lm.engine.pass_cost = 0.0
    return lm


def plain_lm(model: PreTrainedModel, tokenizer: Any, **options: Any) -> HFLM:
    return HFLM(model, tokenizer=tokenizer, **{"max_length": LENGTH, **options})
