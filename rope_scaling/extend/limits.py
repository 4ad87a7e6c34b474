"""Lengths that stand outside of the config and would keep a longer context from being used."""

from __future__ import annotations

from rope_scaling.extend.documents import Json, parse_document


def raise_tokenizer(settings: Json, old: int, new: int) -> None:
    """Raise `model_max_length` of a `tokenizer_config.json`, at which tokenizers truncate, from the old limit on."""
    limit = settings.get("model_max_length")
    if isinstance(limit, (int, float)) and not isinstance(limit, bool) and old <= limit < new:
        settings["model_max_length"] = new


def raise_generation(settings: Json, old: int, new: int) -> None:
    """Raise `max_length` of a `generation_config.json` where it stands at the old limit."""
    if settings.get("max_length") == old:
        settings["max_length"] = new


def told_of_limits(held: dict[str, bytes], new: int) -> list[str]:
    """What to tell of limits below the new length that were somebody's choice and so are left alone."""
    told = []
    limit = _number(held, "tokenizer_config.json", "model_max_length")
    if limit is not None and limit < new:
        told.append(f"tokenizer_config.json: model_max_length stays {limit:g}, below the trained length: texts are cut")
    if "tokenizer.json" in held:
        cut = parse_document("tokenizer.json", held["tokenizer.json"]).get("truncation")
        length = cut.get("max_length") if isinstance(cut, dict) else None
        if isinstance(length, int) and length < new:
            told.append(f"tokenizer.json cuts every text to {length} tokens (truncation): remove that key to use more")
    return told


def _number(held: dict[str, bytes], name: str, key: str) -> float | None:
    value = parse_document(name, held[name]).get(key) if name in held else None
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None
