"""What was run on what: the words that let someone else get the numbers again."""

from __future__ import annotations

import re
import shlex

from rope_scaling.eval.report.record import Record


def title(record: Record) -> str:
    """Return the page's name."""
    return f"Context extension of {checkpoint_name(record)}"


def checkpoint_name(record: Record) -> str:
    """Return a Hub name as it is, and of a folder its last part: where it lies is nobody's business."""
    name = record.checkpoint
    if re.match(r"[/~.\\]|[A-Za-z]:[/\\]", name):
        return re.split(r"[/\\]", name.rstrip("/\\"))[-1] or name
    return name


def command(record: Record) -> str:
    """Return what was typed, a line each time, but for the place of the program."""
    return "\n".join(shlex.join([re.split(r"[/\\]", program)[-1], *rest]) for program, *rest in record.commands)


def about(record: Record) -> tuple[tuple[str, str], ...]:
    """Return what was measured, with what, as names and values."""
    told = [
        ("checkpoint", checkpoint_name(record)),
        ("architecture", record.about["model_type"]),
        ("trained length L", f"{record.length:,} tokens"),
        ("numbers", f"{record.about['dtype']} on {record.about['device']}"),
    ]
    if record.text:
        stretches = f"{record.text.get('texts', '1')} × {record.text.get('tokens', '?')} tokens"
        told += [("text", f"{record.text.get('name', '?')}, {stretches}")]
        told += [("its SHA-256", record.text["sha256"])] if "sha256" in record.text else []
    if record.stride is not None:
        told.append(("window", f"read anew every {record.stride} tokens"))
    told.append(("made with", ", ".join(f"{name} {version}" for name, version in record.versions.items())))
    return tuple(told)
