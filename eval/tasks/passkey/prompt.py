"""Passkey prompts (Mohtashami & Jaggi, arXiv 2305.16300) of an exact number of tokens."""

from __future__ import annotations

import functools
import random
from typing import Any

from rope_scaling.eval.tasks.common import haystack
from rope_scaling.eval.tasks.common.fill import WORDS, TooShortError, fill
from rope_scaling.eval.tasks.common.tokens import Count

ANSWER_TOKENS = 16
"""Room for the answer; the YAML's `max_gen_toks`. A blank and five digits are at most 6 tokens."""

DESCRIPTION = (
    "There is an important info hidden inside a lot of irrelevant text. Find it and memorize them. "
    "I will quiz you about the important information there."
)
NEEDLE = "The pass key is {key}. Remember it. {key} is the pass key."
QUESTION = "What is the pass key? The pass key is"
FILLER = haystack.FILLER


def passkey_document(count: Count, length: int, depth: float, index: int, seed: int) -> dict[str, Any]:
    """One question: its prompt and `ANSWER_TOKENS` together are `length` tokens.

    As many filler sentences as fit stand around the needle, a share of `depth` of them before it; padding
    words then fill what is left, at the end of the longer part. Where a tokenizer cannot be brought to the
    exact number, the prompt is the longest found below it; `prompt_tokens` says what it is.

    Args:
        count: tells a text's tokens.
        length: tokens, the answer's room included.
        depth: 0 puts the needle before all filler, 1 behind it.
        index: tells samples of the same length and depth apart.
        seed: seeds the key, together with the three above: nothing else does.
    """
    key = str(random.Random(f"{seed} {length} {float(depth)!r} {index}").randint(10_000, 99_999))
    needle = NEEDLE.format(key=key)
    try:
        render = functools.partial(_prompt, needle, depth)
        prompt = fill(count, render, length - ANSWER_TOKENS, ANSWER_TOKENS, WORDS).prompt
    except TooShortError as error:
        raise ValueError(f"rope_passkey: {error}") from None
    return {
        "input": prompt,
        "answer": key,
        "length": length,
        "depth": float(depth),
        "index": index,
        "seed": seed,
        "prompt_tokens": count(prompt),
        "needle_position": count(prompt[: prompt.index(needle)]),
    }


def _prompt(needle: str, depth: float, sentences: int, padding: str = "") -> str:
    filler = [FILLER[number % len(FILLER)] for number in range(sentences)]
    before = round(depth * sentences)
    head, tail = " ".join(filler[:before]), " ".join(filler[before:])
    if 2 * before > sentences:
        head += padding
    else:
        tail += padding
    return "\n".join(line.strip() for line in (DESCRIPTION, head, needle, tail, QUESTION) if line)
