"""How long a text is for the harness: the model's own tokenizer, as lm-eval's Hugging Face model loads and calls it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from transformers import AutoTokenizer, PreTrainedTokenizerBase

Count = Callable[[str], int]
"""Tokens of a text, with whatever special tokens the model will be given."""


def load_tokenizer(model_args: Mapping[str, Any], task: str) -> PreTrainedTokenizerBase:
    """Return the tokenizer that HFLM loads for the same arguments, or the one that stands among them.

    Raises:
        ValueError: There is none among the model's arguments.
    """
    named = [model_args.get(name) for name in ("tokenizer", "pretrained", "model")]
    if isinstance(named[0], PreTrainedTokenizerBase):
        return named[0]
    name = next((name for name in named if isinstance(name, str) and name), None)
    if name is None:
        raise ValueError(
            f"{task} measures its prompts with the model's tokenizer and was given none: pass "
            '--model_args pretrained=CHECKPOINT, or --metadata \'{"tokenizer": "CHECKPOINT"}\''
        )
    keys = ("revision", "trust_remote_code", "subfolder", "add_bos_token", "gguf_file")
    options = {key: model_args[key] for key in keys if model_args.get(key) is not None}
    if model_args.get("tokenizer"):
        options.pop("gguf_file", None)
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(name, **options)
    return tokenizer


def tokenizing(tokenizer: PreTrainedTokenizerBase, add_bos_token: bool | None = None) -> Callable[..., Any]:
    """Return the tokenizer as HFLM calls it for prompts, special tokens included."""
    special = {} if add_bos_token is None else {"add_special_tokens": add_bos_token}
    call: Any = tokenizer  # its class has no typed call
    return functools.partial(call, verbose=False, **special)


def counter(tokenizer: PreTrainedTokenizerBase, add_bos_token: bool | None = None) -> Count:
    """Return what tells a text's tokens, as many as HFLM makes of it."""
    tokenize = tokenizing(tokenizer, add_bos_token)

    def count(text: str) -> int:
        return len(tokenize(text).input_ids)

    return count
