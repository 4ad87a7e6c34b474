"""What `patch_model` was asked for, settled against the RoPE that one layer type was trained with."""

from __future__ import annotations

from dataclasses import dataclass, replace

from transformers import PreTrainedConfig

from rope_scaling.config import max_position_embeddings, read_plain_rope, read_rope, read_rope_parameters
from rope_scaling.declared import deepseek_attention_factor, depends_on_length
from rope_scaling.rope import Rope
from rope_scaling.schemes import Dynamic, NoScaling, RopeParameters, Scheme, YaRN
from rope_scaling.schemes.factor import DEFAULT_FACTOR, resolve_factor
from rope_scaling.temperature import asked_temperature, declared_temperature


@dataclass(frozen=True)
class Request:
    """The arguments of `patch_model`."""

    scheme: Scheme
    factor: float | None = None
    max_length: int | None = None
    original_max_length: int | None = None
    on_scaled: str | None = None
    layer_types: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        names = self.layer_types
        if names is not None and (not isinstance(names, tuple) or not names or not all(type(n) is str for n in names)):
            raise ValueError(f"layer_types must be a tuple of names such as ('full_attention',), got {names!r}")
        if isinstance(self.scheme, Dynamic):
            raise ValueError(
                "'dynamic' changes the frequencies with the length of each call, which breaks a KV cache: "
                "patch with 'ntk' and the factor you need"
            )
        length = self.original_max_length
        if length is not None and (isinstance(length, bool) or not isinstance(length, int) or length < 1):
            raise ValueError(f"original_max_length must be a positive integer, got {length!r}")
        if self.on_scaled not in (None, "compose", "replace"):
            raise ValueError(f"on_scaled must be 'compose' or 'replace', got {self.on_scaled!r}")


@dataclass(frozen=True)
class LayerRequest:
    """One layer type: its RoPE as trained, the scheme with its factor settled, and its parameters before."""

    layer_type: str | None
    rope: Rope
    scheme: Scheme
    factor: float
    before: RopeParameters

    @property
    def changes_nothing(self) -> bool:
        """Whether the trained frequencies stay as they are."""
        scaled = self.scheme(self.rope)
        return (scaled.inv_freq, scaled.attention_factor) == (self.rope.inv_freq, self.rope.attention_factor)

    @property
    def temperature(self) -> float:
        """What DeepSeek's `mscale_all_dim` is to mean after the patch; 1 where the config has no such key."""
        replaced = self.rope.rope_type == "default"
        trained = 1.0 if replaced else declared_temperature(self.before)
        return trained * asked_temperature(self.scheme, self.before, self.factor)

    @property
    def softmax_ratio(self) -> float:
        """By how much an architecture with such a temperature multiplies its softmax scale anew."""
        return (self.temperature / declared_temperature(self.before)) ** 2

    @property
    def keeps_parameters(self) -> bool:
        """Whether the checkpoint goes on choosing its frequencies by the length of each call."""
        return (
            isinstance(self.scheme, NoScaling) and self.rope.rope_type != "default" and depends_on_length(self.before)
        )


def settle(config: PreTrainedConfig, layer_type: str | None, request: Request) -> LayerRequest:
    """Settle a request for one layer type of an unpatched `config`.

    Raises:
        ValueError: The checkpoint is scaled already and `on_scaled` is silent, factors contradict each other, or an
            option does not fit this RoPE.
    """
    rope = trained_rope(config, layer_type, request)
    default = 1.0 if isinstance(request.scheme, NoScaling) else DEFAULT_FACTOR
    factor = resolve_factor(rope, request.scheme.factor, request.factor, request.max_length, default)
    scheme: Scheme = replace(request.scheme, factor=factor)  # type: ignore[type-var]
    before = read_rope_parameters(config, layer_type)
    if isinstance(scheme, YaRN) and scheme.attention_factor is None:
        scheme = replace(scheme, attention_factor=deepseek_attention_factor(before, factor))
    scheme(rope)  # an option that does not fit is an error here, before anything else is done
    layer = LayerRequest(layer_type, rope, scheme, factor, before)
    if layer.keeps_parameters and factor != 1:
        raise ValueError(
            f"'none' keeps a checkpoint of rope_type {rope.rope_type!r} as it is, so its length cannot be raised "
            f"(factor {factor}): leave the factor out, or take another scheme"
        )
    return layer


def trained_rope(config: PreTrainedConfig, layer_type: str | None, request: Request) -> Rope:
    """What a scheme is to start from: the RoPE of an unpatched `config`, scaled already or not."""
    read = read_rope(config, layer_type)
    length = request.original_max_length
    if read.rope_type != "default" and request.on_scaled is None:
        raise ValueError(
            f"this checkpoint is scaled already (rope_type {read.rope_type!r}): pass on_scaled='compose' if it was "
            "trained so, to scale on top of its max_position_embeddings, or on_scaled='replace' if only its config "
            "was edited, to start from the plain frequencies"
        )
    if read.rope_type != "default" and request.on_scaled == "replace":
        read = read_plain_rope(config, layer_type)
    elif read.rope_type != "default" and length is None:
        length = max_position_embeddings(config)
    return read if length is None else replace(read, original_max_position_embeddings=length)
