"""From a checkpoint to its findings: which files are read, and which findings another one makes superfluous."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rope_scaling.doctor.facts import Facts, Tensors
from rope_scaling.doctor.finding import Finding, Severity, Symptom
from rope_scaling.doctor.gguf_file import as_config, read_gguf
from rope_scaling.doctor.jsonfile import Trouble, read_json
from rope_scaling.doctor.resolved import resolve, text_part
from rope_scaling.doctor.rules import RULES
from rope_scaling.doctor.weights import is_inside, read_tensors

_HEAD = 2**16
"""Bytes of tokenizer.json in which `truncation` stands, before the vocabulary."""
_LAST_RESORT = ("unreadable-rope", "transformers-refuses")


def examine(facts: Facts) -> list[Finding]:
    """What is wrong, worst first; nothing is changed, and no rule stops another."""
    found = [finding for rule in RULES for finding in rule.findings(facts)]
    told = any(one.severity is Severity.ERROR and one.code not in _LAST_RESORT for one in found)
    kept = [one for one in found if not (told and one.code in _LAST_RESORT)]
    return sorted(kept, key=lambda one: -one.severity.exit_code)  # stable: else in the rules' order


def worst(findings: list[Finding]) -> int:
    """The exit code: 0 for nothing above a note, 1 for warnings, 2 for errors."""
    return max((one.severity.exit_code for one in findings), default=0)


def facts_of_config(
    config: Mapping[str, Any], source: str = "CHECKPOINT", *, wished: int | None = None, **more: Any
) -> Facts:
    """Facts of the dict of a `config.json` alone, or with other parts beside it."""
    inner = text_part(config)
    resolved, refusal = resolve(inner)
    return Facts(source, inner, outer=config, resolved=resolved, refusal=refusal, wished=wished, **more)


def facts_of(checkpoint: str, *, wished: int | None = None, beside: str | None = None, trust: bool = False) -> Facts:
    """Facts of a folder, a GGUF file or a Hub name.

    Args:
        checkpoint: Which.
        wished: A length that is wished for, in tokens.
        beside: The folder whose config a GGUF file was made from; the one that it lies in unless given.
        trust: Whether code that comes with the checkpoint may be run to read its config.

    Raises:
        ValueError: There is no such checkpoint, or its config cannot be read at all.
        OSError: A file cannot be opened.
        ModuleNotFoundError: A GGUF file, and the package `gguf` is not installed.
    """
    path = Path(checkpoint)
    if path.is_file() and path.suffix == ".gguf":
        return _of_gguf(path, Path(beside) if beside else path.parent, wished)
    if beside is not None:
        raise ValueError(f"--config goes with a GGUF file, got {checkpoint!r}: give the file")
    if path.is_file():
        raise ValueError(f"{checkpoint} is a file and no .gguf: give a checkpoint folder, a GGUF file or a Hub name")
    folder = path if path.is_dir() else _from_hub(checkpoint)
    facts = _of_folder(folder, checkpoint, wished)
    return _trusting(facts, folder) if trust else facts


def _of_folder(folder: Path, source: str, wished: int | None) -> Facts:
    if not (folder / "config.json").exists():
        raise ValueError(f"{folder} has no config.json: give a checkpoint folder, a GGUF file or a Hub name")
    if not is_inside(folder, "config.json"):
        raise ValueError(f"config.json of {folder} is a link that leads out of it: it was not opened")
    config, troubles = read_json(folder / "config.json")
    found = list(troubles)
    tokenizer, generation = (
        _beside(folder, name, found) for name in ("tokenizer_config.json", "generation_config.json")
    )
    tensors, wrong = read_tensors(folder)
    return facts_of_config(
        config,
        source,
        wished=wished,
        tokenizer=tokenizer,
        truncation=_truncation(folder),
        generation=generation,
        tensors=tensors,
        read=(*found, *wrong),
    )


def _of_gguf(path: Path, folder: Path, wished: int | None) -> Facts:
    metadata, names = read_gguf(path)
    found: list[Trouble] = []
    config = _beside(folder, "config.json", found)
    if not config:
        made = as_config(metadata)
        return Facts(str(path), made, wished=wished, gguf=metadata, gguf_tensors=names, read=tuple(found))
    return facts_of_config(
        config, str(path), wished=wished, gguf=metadata, gguf_tensors=names, tensors=Tensors(), read=tuple(found)
    )


def _beside(folder: Path, name: str, found: list[Trouble]) -> dict[str, Any]:
    """A file that may be missing; what is wrong with it goes into `found`."""
    if not (folder / name).exists():
        return {}
    try:
        if not is_inside(folder, name):
            raise ValueError(f"{name} is a link that leads out of the folder")
        data, troubles = read_json(folder / name)
    except (ValueError, OSError) as error:
        found.append(
            (
                "bad-file",
                Symptom(
                    seen=str(error),
                    consequence=f"What {name} would say was not checked; engines stop at it or go on without.",
                    mend=f"get {name} again from where it was published",
                    evidence={"file": name},
                ),
            )
        )
        return {}
    found += troubles
    return data


def _truncation(folder: Path) -> dict[str, Any]:
    """`truncation` of tokenizer.json, which stands before a vocabulary of many megabytes."""
    path = folder / "tokenizer.json"
    if not path.is_file() or not is_inside(folder, path.name):
        return {}
    with path.open("rb") as file:
        head = file.read(_HEAD).decode("utf-8", errors="replace")
    match = re.search(r'"truncation"\s*:\s*(\{[^{}]{0,500}\})', head)
    if match is None:
        return {}
    try:
        said: Any = json.loads(match[1])
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _from_hub(name: str) -> Path:
    """The folder in the Hub's cache with the small files of a checkpoint; weights are not downloaded."""
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name):
        raise ValueError(f"there is no folder {name!r}, and it is no name on the Hub")
    from huggingface_hub import snapshot_download

    wanted = ["config.json", "tokenizer_config.json", "generation_config.json"]
    download: Callable[..., str] = snapshot_download
    try:
        return Path(download(name, allow_patterns=wanted))
    except Exception as error:  # its errors have no common kind: network, names, permissions
        raise ValueError(f"there is no folder {name!r}, and the Hub did not give it: {_line(error)}") from None


def _trusting(facts: Facts, folder: Path) -> Facts:
    """The same facts with the config as the checkpoint's own code reads it."""
    import dataclasses

    from transformers import AutoConfig

    try:
        made = AutoConfig.from_pretrained(folder, trust_remote_code=True).get_text_config()
    except Exception as error:  # other people's code
        return dataclasses.replace(facts, refusal=_line(error))
    return dataclasses.replace(facts, resolved=made, refusal=None)


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
