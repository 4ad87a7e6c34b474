"""Rules about limits outside of RoPE that keep a longer context from being used."""

from __future__ import annotations

from collections.abc import Iterator

from rope_scaling.doctor.facts import Facts, tokens
from rope_scaling.doctor.finding import Rule, Severity, Symptom

_NO_LIMIT = 10**9
"""Tokenizers without a limit say 1e30."""
_GLOBAL = ("full_attention", "chunked_attention", "linear_attention", "conv", "recurrent", "mamba")


def _wanted(facts: Facts) -> int | None:
    """The length that is wished for or declared."""
    return max((n for n in (facts.wished, facts.max_length) if n is not None), default=None)


def _extended(facts: Facts) -> bool:
    """Whether somebody made it longer, or wishes to: a checkpoint as published may have its reasons."""
    return facts.patched or facts.wished is not None


def _forgotten(facts: Facts, limit: int) -> bool:
    """Whether a limit stands just at the length before scaling."""
    return any(one.rope_type != "default" and facts.original(one) == limit for one in facts.parameters)


def _severity(facts: Facts, limit: int) -> Severity:
    return Severity.WARNING if _extended(facts) or _forgotten(facts, limit) else Severity.NOTE


def _tokenizer(facts: Facts) -> Iterator[Symptom]:
    limit, wanted = tokens(facts.tokenizer.get("model_max_length")), _wanted(facts)
    if limit is None or limit > _NO_LIMIT or wanted is None or limit >= wanted:
        return
    yield Symptom(
        seen=f"tokenizer_config.json has model_max_length {limit}, below {wanted}",
        consequence=f"With truncation=True the tokenizer cuts every text to {limit} tokens, "
        f"{limit / wanted:.1%} of the length; without it, it warns.",
        mend=f"set model_max_length to {wanted} in tokenizer_config.json (rope-scaling extend does)",
        evidence={"model_max_length": limit, "length": wanted},
        engines={"vllm": "may take the smaller of the two for its longest sequence"},
        severity=_severity(facts, limit),
    )


def _truncation(facts: Facts) -> Iterator[Symptom]:
    limit, wanted = tokens(facts.truncation.get("max_length")), _wanted(facts)
    if limit is None or wanted is None or limit >= wanted:
        return
    yield Symptom(
        seen=f"tokenizer.json truncates at {limit} tokens, below {wanted}",
        consequence=f"Fast tokenizers that are loaded straight from the file (the tokenizers library) cut every "
        f"text to {limit} tokens without a word.",
        mend='set "truncation" to null in tokenizer.json',
        evidence={"max_length": limit, "length": wanted},
    )


def _generation(facts: Facts) -> Iterator[Symptom]:
    limit, wanted = tokens(facts.generation.get("max_length")), _wanted(facts)
    if limit is None or wanted is None or limit >= wanted or facts.generation.get("max_new_tokens") is not None:
        return
    yield Symptom(
        seen=f"generation_config.json has max_length {limit}, below {wanted}",
        consequence=f"generate() stops at {limit} tokens, prompt included: a longer prompt is an error, "
        "unless max_new_tokens is given.",
        mend=f"set max_length to {wanted} in generation_config.json, or remove it (rope-scaling extend does)",
        evidence={"max_length": limit, "length": wanted},
        severity=_severity(facts, limit),
    )


def _sliding(facts: Facts) -> Iterator[Symptom]:
    source = facts.filled
    window, wanted = tokens(source.get("sliding_window")), _wanted(facts)
    if window is None or wanted is None or window >= wanted or source.get("use_sliding_window") is False:
        return
    kinds = source.get("layer_types")
    if isinstance(kinds, list) and any(kind in _GLOBAL for kind in kinds):
        return  # some layers see everything
    if not isinstance(kinds, list) and any(key.startswith("sliding_window_") for key in source):
        return  # a pattern of layers that its class did not spell out
    layers = tokens(source.get("num_hidden_layers")) or 1
    scaled = _extended(facts) or any(one.rope_type != "default" for one in facts.parameters)
    yield Symptom(
        seen=f"every layer sees a sliding window of {window} tokens, and the length is {wanted}",
        consequence=f"No token attends further back than {window} tokens, so no pair turns further than it did in "
        f"training: scaling RoPE buys nothing. What lies {window * layers} tokens back cannot be reached at all, "
        f"through {layers} layers.",
        mend="set sliding_window to null if the weights were trained for that; else do not scale",
        evidence={"sliding_window": window, "length": wanted, "layers": layers},
        severity=Severity.WARNING if scaled else Severity.NOTE,
    )


RULES = (
    Rule(
        "tokenizer-limit",
        Severity.WARNING,
        "The tokenizer's `model_max_length` is below the length.",
        "A note on a checkpoint as it was published, a warning where somebody made it longer or wishes to, or where "
        "the limit is the length before scaling.",
        _tokenizer,
    ),
    Rule(
        "tokenizer-truncation",
        Severity.WARNING,
        "`tokenizer.json` itself truncates below the length.",
        "It was saved while truncation was on. Libraries that read the file cut silently.",
        _truncation,
    ),
    Rule(
        "generation-limit",
        Severity.WARNING,
        "`generation_config.max_length` is below the length.",
        "generate() counts the prompt. A note on a checkpoint as it was published, as for the tokenizer.",
        _generation,
    ),
    Rule(
        "sliding-window",
        Severity.WARNING,
        "A sliding window on every layer defeats the extension.",
        "The largest distance between two tokens that see each other is the window. A note where nothing is scaled.",
        _sliding,
    ),
)
