"""Passkey prompts (Mohtashami & Jaggi, arXiv 2305.16300) of an exact number of tokens."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

Count = Callable[[str], int]
"""Tokens of a text, with whatever special tokens the model will be given."""

ANSWER_TOKENS = 16
"""Room for the answer; the YAML's `max_gen_toks`. A blank and five digits are at most 6 tokens."""

DESCRIPTION = (
    "There is an important info hidden inside a lot of irrelevant text. Find it and memorize them. "
    "I will quiz you about the important information there."
)
NEEDLE = "The pass key is {key}. Remember it. {key} is the pass key."
QUESTION = "What is the pass key? The pass key is"
FILLER = (
    "The grass is green.",
    "The sky is blue.",
    "The sun is yellow.",
    "Here we go.",
    "There and back again.",
)
PADDING = (
    " again",
    " so",
    " a",
    "!",
)  # one token each in most vocabularies; 6, 3, 2 and 1 where a byte is a token
PROBE = 50  # sentences that the number of tokens a sentence is measured on


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
    prompt = _fill(count, needle, depth, length - ANSWER_TOKENS)
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


def _fill(count: Count, needle: str, depth: float, tokens: int) -> str:
    """The longest prompt found of at most `tokens` tokens."""
    sentences = _sentences_that_fit(count, needle, depth, tokens)
    padding, used = "", count(_prompt(needle, depth, sentences))
    for word in PADDING:
        while used < tokens:
            more = count(_prompt(needle, depth, sentences, padding + word))
            if not used < more <= tokens:
                break
            padding, used = padding + word, more
    return _prompt(needle, depth, sentences, padding)


def _sentences_that_fit(count: Count, needle: str, depth: float, tokens: int) -> int:
    def used(sentences: int) -> int:
        return count(_prompt(needle, depth, sentences))

    bare, cycle = used(0), used(2 * PROBE) - used(PROBE)  # lines come and go between 0 and PROBE
    if cycle < PROBE:
        raise ValueError(f"this tokenizer makes {cycle} tokens of {PROBE} sentences: it cannot measure lengths")
    if bare > tokens:
        raise ValueError(
            f"a passkey prompt of {tokens + ANSWER_TOKENS} tokens is too short: question and answer alone "
            f"take {bare + ANSWER_TOKENS}; ask for a length of at least that"
        )
    sentences = int((tokens - bare) * PROBE / cycle)
    while sentences and used(sentences) > tokens:
        sentences -= 1
    while used(sentences + 1) <= tokens:
        sentences += 1
    return sentences


def _prompt(needle: str, depth: float, sentences: int, padding: str = "") -> str:
    filler = [FILLER[number % len(FILLER)] for number in range(sentences)]
    before = round(depth * sentences)
    head, tail = " ".join(filler[:before]), " ".join(filler[before:])
    if 2 * before > sentences:
        head += padding
    else:
        tail += padding
    return "\n".join(line.strip() for line in (DESCRIPTION, head, needle, tail, QUESTION) if line)
