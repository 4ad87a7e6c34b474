"""What a checkpoint's RoPE is, on the terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rope_scaling.config import layer_types_of, max_position_embeddings, read_rope
from rope_scaling.record import read_record
from rope_scaling.rope import Rope


def print_rope(console: Console, config: Any) -> None:
    """Print the RoPE of a Transformers config, a column for each layer type.

    Raises:
        TypeError: The model has none.
        ValueError: It cannot be read; the message names the key.
    """
    config = config.get_text_config()
    kinds: list[str | None] = [*layer_types_of(config)] or [None]
    ropes = [read_rope(config, kind) for kind in kinds]
    table = Table(title=f"RoPE of {escape(config.model_type)}", title_justify="left", title_style="italic")
    table.add_column("")
    for kind in kinds:
        table.add_column(kind or "all layers")
    columns = [_facts(rope, max_position_embeddings(config)) for rope in ropes]
    for name in columns[0]:
        table.add_row(name, *(column[name] for column in columns))
    console.print(table)
    record = read_record(config)
    if record is not None:
        console.print(
            f"patched with {record.make_scheme()}: {record.original_max_position_embeddings} -> "
            f"{record.max_position_embeddings} tokens; above is the RoPE as it was trained",
            highlight=False,
            markup=False,
        )


def _facts(rope: Rope, declared: int) -> dict[str, str]:
    length = rope.original_max_position_embeddings
    slow = sum(wavelength > length for wavelength in rope.wavelengths)
    return {
        "rope_type": rope.rope_type,
        "theta": f"{rope.theta:g}",
        "rotary_dim / head_dim": f"{rope.rotary_dim} / {rope.head_dim}",
        "trained length": f"{length} tokens",
        "declared length": f"{declared} tokens",
        "attention factor": f"{rope.attention_factor:.6g}",
        "wavelengths": f"{rope.wavelengths[0]:.2f} to {rope.wavelengths[-1]:.0f} tokens a turn",
        "pairs without a full turn in training": f"{slow} of {len(rope.wavelengths)}",
    }
