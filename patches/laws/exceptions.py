"""The models whose logits follow absolute positions by design, and by which of their parts."""

from __future__ import annotations

from torch import nn

_BY_TYPE = {
    "beam": "its layers without rotation scale queries by their position (scalable softmax)",
    "ctrl": "it adds absolute positions to its tokens (a sinusoid table)",
    "deepseek_v4": "its values are its rotated keys, and what attention makes of them is turned back",
    "recurrent_gemma": "its recurrence starts anew at position 0",
}
_LEARNED = ("wpe", "embed_positions", "positions_embed", "position_embedding", "position_embeddings")


def why_absolute(model: nn.Module, *, beyond: bool) -> str | None:
    """What in a model depends on absolute positions, in words; None where nothing known does.

    Args:
        model: A Transformers model.
        beyond: Whether positions past the trained length are asked about: some models count only from there.
    """
    config = getattr(model, "config", None)
    text = config if config is None else config.get_text_config()
    learned = [name for name, module in model.named_modules() if _is_learned(name, module)]
    if learned:
        return f"it adds absolute positions to its tokens ({learned[0]})"
    by_type = _BY_TYPE.get(str(getattr(text, "model_type", None)))
    return by_type or (_why_beyond(text) if beyond else None)


def _why_beyond(text: object) -> str | None:
    parameters = getattr(text, "rope_parameters", None) or {}
    if parameters.get("llama_4_scaling_beta"):
        return "it scales queries by their position (llama_4_scaling_beta, as ministral3 does)"
    if getattr(text, "attn_temperature_tuning", None):
        return "it scales queries of layers without rotation by their position (llama4's attn_temperature_tuning)"
    if parameters.get("rope_type") in ("dynamic", "longrope"):
        return f"rope_type {parameters['rope_type']!r} changes its frequencies with the largest position"
    return None


def _is_learned(name: str, module: nn.Module) -> bool:
    return name.rpartition(".")[2] in _LEARNED and bool(list(module.parameters(recurse=False)) or module._buffers)
