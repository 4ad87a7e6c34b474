"""The section of a model card that says what was done to a checkpoint."""

from __future__ import annotations

from collections.abc import Sequence

from rope_scaling.extend.serving import Serving

_BEGIN, _END = "<!-- rope-scaling: begin -->", "<!-- rope-scaling: end -->"


def add_section(card: bytes | None, section: str) -> bytes:
    """The card with a section at its end, in place of an earlier one."""
    text = "" if card is None else card.decode("utf-8", "surrogateescape")
    if _BEGIN in text and _END in text:
        text = text[: text.index(_BEGIN)].rstrip("\n") + "\n" + text[text.index(_END) + len(_END) :].lstrip("\n")
    text = text.rstrip("\n") + "\n\n" if text.strip() else ""
    return f"{text}{_BEGIN}\n{section}\n{_END}\n".encode("utf-8", "surrogateescape")


def describe_extension(source: str, told: str, old: int, new: int, served: Sequence[Serving]) -> str:
    """The section: what was done, what to expect of it, how to serve it and how to undo it."""
    able = [one for one in served if one.refusal is None and one.engine != "transformers"]
    commands = "".join(f"- {one.engine}: `{one.command}`\n" for one in able)
    refused = "".join(f"- not {one.engine}: {one.refusal}\n" for one in served if one.refusal is not None)
    return (
        f"## Longer context\n\n"
        f"This is {source} with its rotary position embedding scaled from {old} to {new} tokens ({told}). No weight "
        f"was changed, and nothing was trained. Measure it on texts like yours before you rely on it: a longer context "
        f"is bought with a small loss on short texts.\n\n"
        f"Plain Transformers reads the new `config.json`; no other package is needed.\n\n{commands}{refused}\n"
        f"`rope_scaling.json` says what was changed. `rope-scaling extend PATH --undo -o RESTORED` undoes it exactly."
    )
