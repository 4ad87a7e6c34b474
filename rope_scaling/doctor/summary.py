"""What a checkpoint's RoPE is, as rows of a table and as JSON."""

from __future__ import annotations

from dataclasses import replace

from rope_scaling.doctor.facts import Facts, tokens
from rope_scaling.doctor.forecast import Forecast, forecast
from rope_scaling.doctor.ropes import declared_ropes
from rope_scaling.record import RECORD
from rope_scaling.rope import Rope

# As Transformers' modeling code rotates them: neighbours (2i with 2i + 1), or halves (i with i + rotary_dim / 2).
INTERLEAVED = frozenset(
    ("codegen", "cohere", "cohere2", "deepseek_v2", "deepseek_v3", "ernie4_5", "glm", "glm4", "gptj", "helium")
)
HALF_SPLIT = frozenset(
    (
        *("llama", "mistral", "mixtral", "ministral", "qwen2", "qwen2_moe", "qwen3", "qwen3_moe", "phi", "phi3"),
        *("gemma", "gemma2", "gemma3_text", "gpt_neox", "falcon", "stablelm", "starcoder2", "smollm3", "granite"),
        *("olmo", "olmo2", "olmoe", "gpt_oss"),
    )
)


MEASURED_BEST = "self-extend"
"""Of the tables in docs/remap.md; `leaky-rerope` is level with it."""


def readable_ropes(facts: Facts) -> dict[str | None, Rope]:
    """The RoPE of each layer type that can be read; of a patched checkpoint with the length that was scaled from."""
    found = {kind: rope for kind, rope in declared_ropes(facts).items() if isinstance(rope, Rope)}
    length = tokens(facts.config[RECORD].get("original_max_position_embeddings")) if facts.patched else None
    if length is None:
        return found
    return {kind: replace(rope, original_max_position_embeddings=length) for kind, rope in found.items()}


def rows(facts: Facts, rope: Rope) -> dict[str, str]:
    """What one RoPE is."""
    length = rope.original_max_position_embeddings
    slow = sum(wavelength > length for wavelength in rope.wavelengths)
    return {
        "rope_type": rope.rope_type,
        "theta": f"{rope.theta:g}",
        "rotary_dim / head_dim": f"{rope.rotary_dim} / {rope.head_dim}",
        "trained length": f"{length} tokens",
        "declared length": "-" if facts.max_length is None else f"{facts.max_length} tokens",
        "attention factor": f"{rope.attention_factor:.6g}",
        "wavelengths": f"{rope.wavelengths[0]:.2f} to {rope.wavelengths[-1]:.0f} tokens a turn",
        "pairs without a full turn in training": f"{slow} of {len(rope.wavelengths)}",
    }


def layer_rows(facts: Facts) -> dict[str, str]:
    """What concerns the layers: their pairs' layout, those without RoPE, those with a window."""
    source = facts.filled
    layout = "interleaved" if facts.model_type in INTERLEAVED else "half-split"
    said = {"layout": layout} if facts.model_type in INTERLEAVED | HALF_SPLIT else {}
    kinds, window = source.get("layer_types"), tokens(source.get("sliding_window"))
    if isinstance(kinds, list) and kinds:
        told = {str(kind): kinds.count(kind) for kind in dict.fromkeys(map(str, kinds))}
        said["layers"] = ", ".join(f"{count} {kind}" for kind, count in told.items())
    if window is not None and source.get("use_sliding_window") is not False:
        said["sliding window"] = f"{window} tokens"
    plain = source.get("no_rope_layers")
    if isinstance(plain, list) and plain and all(mark in (0, 1) for mark in plain):
        said["layers without RoPE"] = f"{plain.count(0)} of {len(plain)}"  # 1 marks those that rotate
    return said


def start_of(facts: Facts, rope: Rope) -> Rope:
    """What a scheme would start from: a checkpoint that was trained scaled, with the length that it declares."""
    declared = facts.max_length or rope.original_max_position_embeddings
    if rope.rope_type == "default" or facts.patched:
        return rope
    return Rope(
        rope.inv_freq,
        rope.theta,
        rope.rotary_dim,
        rope.head_dim,
        max(declared, rope.original_max_position_embeddings),
        rope.attention_factor,
        rope.rope_type,
    )


def forecasts(facts: Facts, rope: Rope) -> list[Forecast]:
    """What each scheme would do at the wished length; nothing where no longer one is wished for."""
    start = start_of(facts, rope)
    if facts.wished is None or facts.wished <= start.original_max_position_embeddings:
        return []
    return forecast(start, facts.wished)


def advice(facts: Facts) -> str | None:
    """What has measured best at the wished length without training; None where no longer one is wished for."""
    ropes = readable_ropes(facts).values()
    types = {rope.rope_type for rope in ropes}
    if not any(forecasts(facts, rope) for rope in ropes) or types & {"dynamic", "longrope"}:
        return None
    scaled = ', on_scaled="compose"' if types - {"default"} else ""
    asked = f"--max-length {facts.wished}" + (" --on-scaled compose" if scaled else "")
    return (
        f'Measured best without training: patch_model(model, "{MEASURED_BEST}", max_length={facts.wished}{scaled}). It '
        "leaves texts within the trained length, and the frequencies, as they are; docs/remap.md says on which models "
        "and at what cost. It runs in Transformers alone: for other engines take yarn, rope-scaling extend CHECKPOINT "
        f"--scheme yarn {asked} --for all -o OUT"
    )


def record_line(facts: Facts) -> str | None:
    """What this library did to the checkpoint before, in one sentence."""
    if not facts.patched:
        return None
    record = facts.config[RECORD]
    held = record.get("options")
    options = ", ".join(f"{key} {value}" for key, value in held.items()) if isinstance(held, dict) else ""
    reached = record.get("max_position_embeddings")
    return (
        f"patched with {record.get('scheme')} ({options}): {record.get('original_max_position_embeddings')} -> "
        f"{'any number of' if reached is None else reached} tokens; above is the RoPE as it was trained"
    )
