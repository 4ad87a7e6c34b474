"""The numbers behind the pictures: wavelengths, mean kernel and angle coverage of a RoPE, trained and scaled."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rope_scaling.config import layer_types_of
from rope_scaling.patches.request import Request, settle
from rope_scaling.rope import Rope, ScaledRope
from rope_scaling.schemes import NoScaling, is_remap, parse_scheme
from rope_scaling.schemes.factor import DEFAULT_FACTOR

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

UNSCALED = "unscaled"
_ROUNDING = 1e-9  # of a turn, relative: the same angle computed in two ways is no new angle


@dataclass(frozen=True)
class Curve:
    """One RoPE in the pictures.

    Attributes:
        name: The scheme as typed, or `UNSCALED`.
        scaled: What it rotates by.
        length: The length that it is read at, in tokens.
    """

    name: str
    scaled: ScaledRope
    length: int


@dataclass(frozen=True)
class Study:
    """What the pictures are about.

    Attributes:
        name: What the reader knows the checkpoint by.
        rope: As trained.
        unscaled: The trained frequencies, read at the longest length.
        schemes: In the order asked for, without `none`, which is `unscaled`.
    """

    name: str
    rope: Rope
    unscaled: Curve
    schemes: tuple[Curve, ...]

    @property
    def curves(self) -> tuple[Curve, ...]:
        """The unscaled one first."""
        return (self.unscaled, *self.schemes)

    @property
    def trained_length(self) -> int:
        """L."""
        return self.rope.original_max_position_embeddings


def load_study(
    checkpoint: str,
    schemes: Sequence[str],
    *,
    layer_type: str | None = None,
    on_scaled: str | None = None,
    original_max_length: int | None = None,
) -> Study:
    """Read the config of a checkpoint, and no weights, for `read_study`."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(checkpoint).get_text_config()
    folder = Path(checkpoint)
    name = folder.resolve().name if folder.is_dir() else checkpoint  # where it lies is nobody's business
    return read_study(
        name,
        config,
        schemes,
        layer_type=layer_type,
        on_scaled=on_scaled,
        original_max_length=original_max_length,
    )


def read_study(
    name: str,
    config: PreTrainedConfig,
    schemes: Sequence[str],
    *,
    layer_type: str | None = None,
    on_scaled: str | None = None,
    original_max_length: int | None = None,
) -> Study:
    """A config's RoPE as trained and under every scheme, each with the factor that `patch_model` would give it.

    The unscaled RoPE is read at the longest length among them; at twice the trained length where none extends it.

    Raises:
        ValueError: `layer_type` is missing or unknown, a scheme is given twice or does not fit, or the checkpoint is
            scaled already and `on_scaled` is silent.
    """
    _check_layer_type(config, layer_type)
    twice = sorted({text for text in schemes if list(schemes).count(text) > 1})
    if twice:
        raise ValueError(f"schemes asked for twice: {', '.join(twice)}")
    plain = settle(config, layer_type, Request(NoScaling(), None, None, original_max_length, on_scaled))
    length = plain.rope.original_max_position_embeddings
    longest, curves = length, []
    for text in schemes:
        scheme = parse_scheme(text)
        if is_remap(scheme):
            raise ValueError(
                f"{text!r} leaves the frequencies as they are and moves positions, so these pictures, which are of "
                "frequencies, would show nothing of it: leave it out"
            )
        asked = settle(config, layer_type, Request(scheme, None, None, original_max_length, on_scaled))
        reached = round(asked.factor * length)
        longest = max(longest, reached)
        if not isinstance(asked.scheme, NoScaling):
            curves.append(Curve(text, asked.scheme(asked.rope), reached))
    if longest == length:
        longest = round(DEFAULT_FACTOR * length)
    unscaled = Curve(UNSCALED, ScaledRope(plain.rope.inv_freq, plain.rope.attention_factor), longest)
    return Study(name if layer_type is None else f"{name}, {layer_type}", plain.rope, unscaled, tuple(curves))


def wavelengths(inv_freq: Sequence[float]) -> tuple[float, ...]:
    """λᵢ, (rotary_dim / 2,), tokens per turn; infinite for a pair that does not turn."""
    return tuple(2 * math.pi / f if f else math.inf for f in inv_freq)


def distance_windows(length: int, per_octave: int = 12) -> list[tuple[int, int, int]]:
    """Whole distances Δ from 1 to `length`, about even in their logarithm, each with a window (start, stop) around it.

    The window is half an octave, Δ / 2^¼ to Δ · 2^¼, cut off at `length`; up to Δ = 5 it holds Δ alone.
    """
    steps = math.ceil(per_octave * math.log2(length))
    distances = sorted({round(2 ** (step / per_octave)) for step in range(steps)} | {length})
    return [(d, math.ceil(d / 2**0.25), min(math.floor(d * 2**0.25), length) + 1) for d in distances if d <= length]


def mean_kernel(scaled: ScaledRope, start: int, stop: int | None = None) -> float:
    """Mean over the pairs of cos(θᵢ · Δ), times the attention factor squared, at distance Δ = `start`.

    It is q · k where the query and the key are the same, all pairs alike: what RoPE alone makes of distance (its
    long-term decay: arXiv 2104.09864v5, section 3.4.3). With `stop`, the mean over the distances `start` to `stop - 1`.
    """
    count = 1 if stop is None else stop - start
    values = [math.cos(f * (start + (count - 1) / 2)) * _dirichlet(f, count) for f in scaled.inv_freq]
    return scaled.attention_factor**2 * math.fsum(values) / len(values)


def _dirichlet(angle: float, count: int) -> float:
    """sin(n·x/2) / (n·sin(x/2)): what averaging n steps of `angle` leaves of a cosine at their middle."""
    half = math.sin(angle / 2)
    return math.sin(count * angle / 2) / (count * half) if count > 1 and half else 1.0


def reach(inv_freq: Sequence[float], length: float) -> tuple[float, ...]:
    """The largest angle of each pair within `length` tokens, (rotary_dim / 2,), turns, 1 where it goes round."""
    return tuple(min(1.0, f * length / (2 * math.pi)) for f in inv_freq)


def beyond(study: Study, curve: Curve) -> tuple[float, ...]:
    """What each pair turns past all that training showed it, (rotary_dim / 2,), turns; 0 where it does not."""
    seen = reach(study.rope.inv_freq, study.trained_length)
    reached = reach(curve.scaled.inv_freq, curve.length)
    return tuple(r - s if r > s * (1 + _ROUNDING) else 0.0 for r, s in zip(reached, seen, strict=True))


def _check_layer_type(config: PreTrainedConfig, layer_type: str | None) -> None:
    known = layer_types_of(config)
    if known and layer_type not in known:
        told = "none" if layer_type is None else repr(layer_type)
        raise ValueError(
            f"this checkpoint has a RoPE for each layer type: pass --layer-type {' or '.join(known)}, got {told}"
        )
    if not known and layer_type is not None:
        raise ValueError(f"all layers of this checkpoint share one RoPE: leave out --layer-type, got {layer_type!r}")
