"""What the rotary position embedding (RoPE) of a checkpoint is: the values every scheme starts from.

The papers' symbols and our names for them:

| symbol | name | unit |
|---|---|---|
| s | `factor` | - |
| L | `original_max_position_embeddings` | tokens |
| d | `rotary_dim` | - |
| b | `theta` | - |
| θᵢ | `inv_freq[i]` | radians per token |
| λᵢ = 2π / θᵢ | `wavelengths[i]` | tokens per turn |
| √(1/t) | `attention_factor`, multiplies cos and sin | - |
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from transformers import PreTrainedConfig


def plain_inv_freq(theta: float, rotary_dim: int) -> tuple[float, ...]:
    """Unscaled frequencies, (rotary_dim / 2,), radians per token: theta^(-2i/d) (arXiv 2104.09864v5, eq. 15)."""
    return tuple(theta ** (-2 * i / rotary_dim) for i in range(rotary_dim // 2))


@dataclass(frozen=True)
class Rope:
    """The rotary embedding that a checkpoint was trained with.

    Attributes:
        inv_freq: Frequency of each pair of dimensions, (rotary_dim / 2,), radians per token, float64.
        theta: Base of the geometric series that the frequencies were made from.
        rotary_dim: Dimensions of a head that are rotated, even, at most `head_dim`.
        head_dim: Dimensions of a query or key head.
        original_max_position_embeddings: L, the length that was trained, in tokens.
        attention_factor: What cos and sin are multiplied with.
        rope_type: The config's own word for how `inv_freq` came about; "default" where they are plain.

    Raises:
        ValueError: Where the numbers contradict each other.
    """

    inv_freq: tuple[float, ...]
    theta: float
    rotary_dim: int
    head_dim: int
    original_max_position_embeddings: int
    attention_factor: float = 1.0
    rope_type: str = "default"

    def __post_init__(self) -> None:
        if self.rotary_dim < 2 or self.rotary_dim % 2:
            raise ValueError(f"rotary_dim must be even and at least 2, got {self.rotary_dim}: pairs are rotated")
        if self.rotary_dim > self.head_dim:
            raise ValueError(f"rotary_dim must be at most head_dim ({self.head_dim}), got {self.rotary_dim}")
        if len(self.inv_freq) != self.rotary_dim // 2:
            raise ValueError(
                f"inv_freq must hold rotary_dim / 2 = {self.rotary_dim // 2} frequencies, got {len(self.inv_freq)}"
            )
        check_positive("theta", self.theta)
        check_positive("attention_factor", self.attention_factor)
        check_positive("original_max_position_embeddings", self.original_max_position_embeddings)

    @classmethod
    def plain(cls, theta: float, rotary_dim: int, length: int, *, head_dim: int | None = None) -> Rope:
        """An unscaled RoPE trained to `length` tokens."""
        check_positive("theta", theta)
        if rotary_dim < 2 or rotary_dim % 2:
            raise ValueError(f"rotary_dim must be even and at least 2, got {rotary_dim}: pairs are rotated")
        return cls(plain_inv_freq(theta, rotary_dim), theta, rotary_dim, head_dim or rotary_dim, length)

    @classmethod
    def from_config(cls, config: PreTrainedConfig | Mapping[str, object], layer_type: str | None = None) -> Rope:
        """Read a Transformers config, or the dict of a `config.json`; see `rope_scaling.config.read_rope`."""
        from rope_scaling.config import read_rope  # it knows the schemes, which know this file

        return read_rope(config, layer_type)

    @property
    def wavelengths(self) -> tuple[float, ...]:
        """Tokens per full turn of each pair, (rotary_dim / 2,); infinite for a pair that does not turn."""
        return tuple(2 * math.pi / f if f else math.inf for f in self.inv_freq)

    @property
    def is_plain(self) -> bool:
        """Whether the frequencies are the unscaled series of `theta`, and cos and sin are not multiplied."""
        return self.attention_factor == 1.0 and self.inv_freq == plain_inv_freq(self.theta, self.rotary_dim)


@dataclass(frozen=True)
class ScaledRope:
    """What a scheme makes of a `Rope` at one length.

    Attributes:
        inv_freq: (rotary_dim / 2,), radians per token, float64.
        attention_factor: What cos and sin are multiplied with.
    """

    inv_freq: tuple[float, ...]
    attention_factor: float


def check_positive(name: str, value: object) -> float:
    """`value` as a float, or a ValueError naming it where it is no finite number above zero."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or value <= 0:  # type: ignore[operator, arg-type]
        raise ValueError(f"{name} must be a finite number above 0, got {value!r}")
    return float(value)  # type: ignore[arg-type]
