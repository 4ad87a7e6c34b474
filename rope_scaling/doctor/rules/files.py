"""Rules about the files themselves, and about what stands in the way of reading them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from rope_scaling.doctor.facts import Facts
from rope_scaling.doctor.finding import Rule, Severity, Symptom
from rope_scaling.doctor.ropes import declared_ropes


def _read(code: str) -> Callable[[Facts], Iterator[Symptom]]:
    """The symptoms of `code` that reading the files found."""

    def look(facts: Facts) -> Iterator[Symptom]:
        return (symptom for each, symptom in facts.read if each == code)

    return look


def _pickles(facts: Facts) -> Iterator[Symptom]:
    if facts.tensors.pickles:
        yield Symptom(
            seen=f"weight files are pickles ({len(facts.tensors.pickles)}): {', '.join(facts.tensors.pickles[:3])}",
            consequence="A pickle can run any program when it is opened. They were not; frequency tensors and shapes "
            "inside them were not checked.",
            mend="convert them to safetensors where you trust their author",
            evidence={"files": len(facts.tensors.pickles)},
        )


def _remote_code(facts: Facts) -> Iterator[Symptom]:
    if facts.outer.get("auto_map"):
        known = "" if facts.resolved is None else f" Transformers has a class for {facts.model_type} of its own."
        yield Symptom(
            seen="config.json has an auto_map: the checkpoint brings its own code",
            consequence=f"That code may read these keys in its own way; it was not run.{known}",
            mend="read its configuration_*.py and modeling_*.py before passing trust_remote_code",
        )


def _refused(facts: Facts) -> Iterator[Symptom]:
    if facts.refusal is not None:
        yield Symptom(
            seen=f"Transformers refuses the config: {_cut(facts.refusal)}",
            consequence="The model cannot be loaded with it.",
            mend="correct the key that the message names",
        )


def _no_rope(facts: Facts) -> Iterator[Symptom]:
    for error in declared_ropes(facts).values():
        if isinstance(error, TypeError):
            yield Symptom(
                seen=_cut(str(error)),
                consequence="There is nothing to scale: its positions are not rotations, or its config keeps them "
                "where nothing is known of.",
                mend="extend it in the way that its kind of positions allows",
            )


def _unreadable(facts: Facts) -> Iterator[Symptom]:
    for error in declared_ropes(facts).values():
        if isinstance(error, (ValueError, OverflowError)):
            yield Symptom(
                seen=_cut(str(error)),
                consequence="No frequencies can be told from this config; engines stop, or guess.",
                mend="correct the key that the message names",
            )


def _cut(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 300 else f"{line[:297]}..."


RULES = (
    Rule(
        "duplicate-key",
        Severity.ERROR,
        "A JSON file says a key twice.",
        "JSON leaves it open which one counts.",
        _read("duplicate-key"),
    ),
    Rule(
        "not-a-number",
        Severity.ERROR,
        "A JSON file holds NaN or Infinity.",
        "Python writes and reads them; JSON does not have them.",
        _read("not-a-number"),
    ),
    Rule(
        "bad-file",
        Severity.WARNING,
        "A file beside config.json cannot be read.",
        "Cut off, nested without end, or no JSON: what it would say was not checked.",
        _read("bad-file"),
    ),
    Rule(
        "bad-weights",
        Severity.ERROR,
        "The header of a weight file is cut off or contradicts itself.",
        "Headers are read with bounds (100 MB, offsets within the file); weights are not.",
        _read("bad-weights"),
    ),
    Rule(
        "missing-shard",
        Severity.WARNING,
        "The index names a weight file that is not there.",
        "A download that was interrupted.",
        _read("missing-shard"),
    ),
    Rule(
        "unsafe-shard",
        Severity.ERROR,
        "The index, or a link, leads out of the checkpoint's folder.",
        "`..`, absolute paths and links elsewhere are not followed.",
        _read("unsafe-shard"),
    ),
    Rule(
        "pickles",
        Severity.NOTE,
        "Weights as pickles, which are never opened.",
        "`.bin`, `.pt`, `.pth`.",
        _pickles,
    ),
    Rule(
        "remote-code",
        Severity.NOTE,
        "The checkpoint brings its own code.",
        "It is never run unless --trust-remote-code is passed.",
        _remote_code,
    ),
    Rule(
        "transformers-refuses",
        Severity.ERROR,
        "Transformers' own config class refuses the config.",
        "Its message, where no other rule has said it better.",
        _refused,
    ),
    Rule(
        "unreadable-rope",
        Severity.ERROR,
        "The frequencies cannot be told from the config.",
        "The reader's message, where no other rule has said it better.",
        _unreadable,
    ),
    Rule(
        "no-rope",
        Severity.NOTE,
        "The model has no RoPE.",
        "ALiBi, learned or no positions: nothing to scale.",
        _no_rope,
    ),
)
