"""Samples of one RULER task at one length: no more than are used, and none longer than was asked for."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any
from unittest import mock

from rope_scaling.eval.tasks.common.haystack import read_text
from rope_scaling.eval.tasks.common.tokens import Count
from rope_scaling.eval.tasks.ruler.offline import generators, seeded

Rows = list[dict[str, Any]]
Make = Callable[[Any, Count, int, int, "str | None"], Rows]
"""Tokenizer, its count, length, samples and an own text to rows."""

SPREAD = 40  # tokens that samples of equal size differ by at most

NIAH: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "niah_single_1": {"type_haystack": "repeat"},
        "niah_single_2": {"type_haystack": "essay"},
        "niah_single_3": {"type_haystack": "essay", "type_needle_v": "uuids"},
        "niah_multikey_1": {"type_haystack": "essay", "num_needle_k": 4},
        "niah_multikey_2": {"type_haystack": "needle"},
        "niah_multikey_3": {"type_haystack": "needle", "type_needle_k": "uuids", "type_needle_v": "uuids"},
        "niah_multivalue": {"type_haystack": "essay", "num_needle_v": 4},
        "niah_multiquery": {"type_haystack": "essay", "num_needle_q": 4},
    }
)
"""What lm-eval's `niah_utils` passes to its generator; words for keys and numbers for values unless told."""

NEEDS_ESSAYS = tuple(name for name, options in NIAH.items() if options["type_haystack"] == "essay")
BUDGET = {"niah": 128, "vt": 30, "cwe": 120, "fwe": 50}
"""Tokens that lm-eval generates for each."""


def samples(
    name: str, tokenize: Any, count: Count, length: int, number: int, seed: int, text: str | None = None
) -> Rows:
    """Return the first `number` samples; fewer of them are the same ones.

    Args:
        name: of lm-eval's task.
        tokenize: the tokenizer as it is called for prompts.
        count: tells a text's tokens.
        length: tokens, those to generate included.
        number: of samples.
        seed: of everything random.
        text: a file in place of the essays.

    Raises:
        ValueError: The length holds no question.
    """
    make = functools.partial(_niah, name) if name in NIAH else _OTHERS[name]
    with seeded(f"{name} {length} {seed}"):
        rows = make(tokenize, count, length, number, text)
    return [_checked(name, row, count, length) for row in rows]


def _niah(name: str, tokenize: Any, count: Count, length: int, number: int, text: str | None) -> Rows:
    prepare, utils = generators("prepare_niah"), generators("niah_utils")
    options = {"type_needle_k": "words", "type_needle_v": "numbers", **NIAH[name]}
    kind = options["type_haystack"]
    haystack = read_text(str(text)).split() if kind == "essay" else prepare.get_haystack(type_haystack=kind)
    margin = _prefix_tokens(prepare, count, options)
    with mock.patch.object(prepare, "cached_sent_tokenize", _sentences):
        rows: Rows = prepare.generate_samples(
            haystack,
            TOKENIZER=tokenize,
            max_seq_length=length - margin,  # lm-eval's does not count the words that begin the answer
            template=utils.TEMPLATE,
            num_samples=number,
            **options,
        )
    return rows


def _prefix_tokens(prepare: Any, count: Count, options: Mapping[str, Any]) -> int:
    """Return room for what begins the answer, its keys included, whatever they are."""
    state = random.getstate()
    random.seed(0)
    keys = [prepare.generate_random(options["type_needle_k"]) for _ in range(200)]
    random.setstate(state)
    longest = max(keys, key=count)
    named = ", ".join([longest] * options.get("num_needle_q", 1))
    return count(f" The special magic {options['type_needle_v']} for {named} mentioned in the provided text are") + 2


@functools.lru_cache(maxsize=1024)
def _sentences(text: str) -> list[str]:
    """Return the sentences of a text, by Punkt without the training data that would be a download."""
    from nltk.tokenize import PunktSentenceTokenizer

    return list(PunktSentenceTokenizer().tokenize(text))


def _vt(tokenize: Any, count: Count, length: int, number: int, text: str | None) -> Rows:
    vt = generators("vt_utils")
    smallest, _ = vt.generate_input_output(5, 1, 4, is_icl=True)
    _refuse_short("ruler_vt", "its example", count(smallest) + BUDGET["vt"] + SPREAD, 500)
    example = vt.sys_vartrack_w_noise_random(tokenizer=tokenize, num_samples=1, max_seq_length=500, incremental=5)[0]
    shown = count(f"{example['input']} {' '.join(example['outputs'])}\n\n")
    smallest, _ = vt.generate_input_output(10, 1, 4)
    _refuse_short("ruler_vt", "the smallest", count(smallest) + shown + BUDGET["vt"] + 2 * SPREAD, length)
    rows: Rows = vt.sys_vartrack_w_noise_random(
        tokenizer=tokenize, num_samples=number, max_seq_length=length, icl_example=example
    )
    return rows


def _cwe(tokenize: Any, count: Count, length: int, number: int, text: str | None) -> Rows:
    cwe = generators("cwe_utils")
    example, prompt, answer = cwe.generate_input_output(20, length)
    needed = count("\n".join([example, prompt, *answer])) + BUDGET["cwe"] + SPREAD
    _refuse_short("ruler_cwe", "the smallest", needed, length)
    rows: Rows = cwe.sys_word_pair_random(num_samples=number, max_seq_length=length, tokenizer=tokenize)
    return rows


def _fwe(tokenize: Any, count: Count, length: int, number: int, text: str | None) -> Rows:
    fwe = generators("fwe_utils")
    _refuse_short("ruler_fwe", "the smallest", 500, length)
    rows: Rows = fwe.sys_kwext(
        tokenizer=tokenize,
        # lm-eval's leaves no room for the answer
        max_seq_length=length - BUDGET["fwe"] - SPREAD,
        num_samples=number,
        vocab_size=length // 50,
    )
    return rows


_OTHERS: Mapping[str, Make] = MappingProxyType({"ruler_vt": _vt, "ruler_cwe": _cwe, "ruler_fwe": _fwe})
NAMES = (*NIAH, *_OTHERS)


def _refuse_short(name: str, what: str, needed: int, length: int) -> None:
    """Raise ValueError where lm-eval's generator would search forever."""
    if needed > length:
        raise ValueError(f"{name} does not fit {length} tokens: {what} prompt takes about {needed} with its answer")


def _checked(name: str, row: dict[str, Any], count: Count, length: int) -> dict[str, Any]:
    """Return the row under the length that was asked for, with the tokens of the whole prompt."""
    budget = next(tokens for kind, tokens in BUDGET.items() if kind in name)
    used = count(f"{row['input']}\n\n{row['gen_prefix']}")
    if used + budget > length:
        raise ValueError(f"{name}: a prompt of {used} tokens and {budget} to generate are more than {length}")
    if used + budget < length / 2:
        raise ValueError(
            f"{name}: lm-eval's generator fills {used + budget} of {length} tokens, it adds 500 words at a time: "
            "ask for more length"
        )
    if name == "ruler_fwe":
        _refuse_ties(row, length)
    if not row["outputs"]:
        raise ValueError(f"{name} does not fit {length} tokens: ask for more")
    return {**row, "max_length": length, "prompt_tokens": used}


def _refuse_ties(row: Mapping[str, Any], length: int) -> None:
    words = [word for word in row["input"].split() if len(word) == 6 and word.islower() and word.isalpha()]
    asked = min(words.count(word) for word in row["outputs"])
    others = [words.count(word) for word in set(words) - set(row["outputs"]) - {"coded", "answer"}]
    if asked <= max(others, default=0):
        raise ValueError(f"ruler_fwe has no three most frequent words within {length} tokens: ask for more")
