"""Small checkpoint folders as people have them."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path
from typing import Any

from transformers import PreTrainedConfig

from tests.models import TRAINED, tiny_config, tiny_model

CARD = "---\nlicense: apache-2.0\n---\n\n# A model\n"


def save_checkpoint(folder: Path, config: PreTrainedConfig | str = "llama", **saving: Any) -> Path:
    """A tiny model with the files that stand beside the weights of a real one."""
    model = tiny_model(tiny_config(config) if isinstance(config, str) else config)
    model.save_pretrained(folder, **saving)
    write_json(folder / "generation_config.json", {"bos_token_id": 1, "max_length": TRAINED})
    write_json(folder / "tokenizer_config.json", {"model_max_length": TRAINED, "tokenizer_class": "LlamaTokenizer"})
    write_json(folder / "tokenizer.json", {"version": "1.0", "truncation": None})
    (folder / "README.md").write_text(CARD, encoding="utf-8")
    return folder


def write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def edit_json(path: Path, **values: object) -> None:
    write_json(path, read_json(path) | values)


def in_the_older_spelling(folder: Path) -> Path:
    """Rewrite `config.json` as Transformers 4 wrote it: `rope_theta` beside `rope_scaling`."""
    config = read_json(folder / "config.json")
    parameters = config.pop("rope_parameters")
    older = {"rope_theta": parameters["rope_theta"], "rope_scaling": None}
    write_json(folder / "config.json", config | older)
    return folder


def digest(folder: Path) -> dict[str, tuple[str, int]]:
    """What a folder holds: sha256 and modification time of every file."""
    return {
        path.relative_to(folder).as_posix(): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def contents(folder: Path) -> dict[str, bytes]:
    """The bytes of every file of a folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def write_safetensors(path: Path, tensors: dict[str, tuple[str, list[int], int]], size: int | None = None) -> None:
    """A file with a true header and no numbers: name -> (dtype, shape, bytes), sparse up to its whole size."""
    header, end = {}, 0
    for name, (dtype, shape, count) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + count]}
        end += count
    held = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(held)) + held)
        file.truncate(8 + len(held) + end if size is None else size)
