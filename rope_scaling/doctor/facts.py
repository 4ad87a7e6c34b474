"""What is known of a checkpoint, as it stands on disk, before anything is made of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from rope_scaling.doctor.finding import Symptom
from rope_scaling.record import RECORD

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

NAMES_OF_LENGTH = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")
"""Where configs keep the length that they declare; vLLM, vllm/config/model.py, `_get_and_verify_max_len`."""

LARGEST = 1e30
"""Of any number in a config; tokenizers without a limit say it. float32 ends at 3e38."""


@dataclass(frozen=True)
class Parameters:
    """The RoPE parameters of one layer type as they are written.

    Attributes:
        where: The key that holds them, such as "rope_scaling" or "rope_parameters.full_attention".
        said: What is written there; empty where nothing is.
        layer_type: None where all layers share them.
    """

    where: str
    said: Mapping[str, Any]
    layer_type: str | None = None

    @property
    def rope_type(self) -> str:
        """The type under either of its keys; "default" where neither says anything."""
        told = next((self.said[key] for key in ("rope_type", "type") if self.said.get(key) is not None), "default")
        return told if isinstance(told, str) else repr(told)

    def number(self, key: str) -> float | None:
        """What is written under `key`, where it is a finite number."""
        return number(self.said.get(key))


@dataclass(frozen=True)
class Tensors:
    """What the headers of the weight files say, and the frequencies inside, if any.

    Attributes:
        shapes: Of every tensor, by name.
        dtypes: Of every tensor, by name, as safetensors spells them.
        inv_freq: The values of the frequency tensors, by name.
        pickles: Files that are pickles and were not opened.
    """

    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    dtypes: Mapping[str, str] = field(default_factory=dict)
    inv_freq: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    pickles: tuple[str, ...] = ()


@dataclass(frozen=True)
class Live:
    """What a loaded model rotates with.

    Attributes:
        inv_freq: Frequencies in force, radians per token, by the name of their buffer.
        expected: Those that its config gives, by the same names; left out where the config does not read.
        dtypes: Of those buffers.
    """

    inv_freq: Mapping[str, tuple[float, ...]]
    expected: Mapping[str, tuple[float, ...]]
    dtypes: Mapping[str, str]


@dataclass(frozen=True)
class Facts:
    """All that the rules look at.

    Attributes:
        source: What the checkpoint is called, as commands name it.
        config: `config.json` as it stands, the language model's part; made from the metadata for a GGUF file.
        outer: The whole of `config.json`.
        resolved: What Transformers makes of it, where it knows the architecture.
        refusal: Why Transformers refuses it, where it does.
        tokenizer: `tokenizer_config.json`.
        truncation: `truncation` of `tokenizer.json`.
        generation: `generation_config.json`.
        tensors: The weight files' headers.
        gguf: Metadata of a GGUF file.
        gguf_tensors: Names of its tensors.
        live: A loaded model.
        wished: A length that somebody wishes for, in tokens.
        read: What reading the files has found wrong, by the code of its rule.
    """

    source: str
    config: Mapping[str, Any]
    outer: Mapping[str, Any] = field(default_factory=dict)
    resolved: PreTrainedConfig | None = None
    refusal: str | None = None
    tokenizer: Mapping[str, Any] = field(default_factory=dict)
    truncation: Mapping[str, Any] = field(default_factory=dict)
    generation: Mapping[str, Any] = field(default_factory=dict)
    tensors: Tensors = field(default_factory=Tensors)
    gguf: Mapping[str, Any] | None = None
    gguf_tensors: frozenset[str] = frozenset()
    live: Live | None = None
    wished: int | None = None
    read: tuple[tuple[str, Symptom], ...] = ()

    @property
    def model_type(self) -> str:
        """The architecture's name in Transformers, or what stands in its place."""
        return str(self.config.get("model_type") or "unknown")

    @property
    def patched(self) -> bool:
        """Whether this library's record stands in the config."""
        return isinstance(self.config.get(RECORD), Mapping)

    @cached_property
    def parameters(self) -> tuple[Parameters, ...]:
        """The RoPE parameters, one entry for each layer type that has its own."""
        where = next((key for key in ("rope_scaling", "rope_parameters") if self._dict(key)), "rope_parameters")
        said = self._dict(where)
        nested = {key: value for key, value in said.items() if isinstance(value, Mapping)}
        if nested:
            return tuple(Parameters(f"{where}.{key}", value, str(key)) for key, value in nested.items())
        return (Parameters(where, said),)

    @property
    def max_length(self) -> int | None:
        """The length that the config declares, in tokens, where it is one."""
        for key in NAMES_OF_LENGTH:
            if self.config.get(key) is not None:
                return tokens(self.config[key])
        declared = getattr(self.resolved, "max_position_embeddings", None)
        return tokens(declared)

    @cached_property
    def filled(self) -> Mapping[str, Any]:
        """The config with the keys that its class in Transformers fills in, where it has one."""
        try:
            return self.config if self.resolved is None else self.resolved.to_dict()
        except Exception:  # what a config class raises over values of the wrong kind is its own business
            return self.config

    def original(self, parameters: Parameters) -> int | None:
        """L as it is written, in the parameters or beside them; None where it is not."""
        held = (parameters.said, self.config)
        return next(
            (n for n in (tokens(one.get("original_max_position_embeddings")) for one in held) if n is not None), None
        )

    def theta(self, parameters: Parameters) -> float | None:
        """Theta as it is written, in the parameters or beside them."""
        found = parameters.number("rope_theta")
        return number(self.config.get("rope_theta")) if found is None else found

    def _dict(self, key: str) -> Mapping[str, Any]:
        value = self.config.get(key)
        return value if isinstance(value, Mapping) else {}


def number(value: object) -> float | None:
    """`value` as a float where it is a number that float32 holds with room to compute."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        found = float(value)
    except OverflowError:  # JSON has integers that no float holds
        return None
    return found if found == 0 or 1 / LARGEST <= abs(found) <= LARGEST else None


def tokens(value: object) -> int | None:
    """`value` as a count of tokens, where it is one."""
    found = number(value)
    return int(found) if found is not None and found >= 1 and found == int(found) else None
