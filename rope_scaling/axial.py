"""RoPE in N dimensions: how the pairs of a head are shared among the axes of a position."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rope_scaling.angles import Frequencies, as_scaled, cos_sin_of_turns, fixed_point_turns
from rope_scaling.rope import ScaledRope


@dataclass(frozen=True)
class AxialRope:
    """The frequencies of every pair along every axis: pair i of a token at (p₀, p₁, …) turns by Σₐ pₐ · inv_freq[a][i].

    One matrix says all that models do: a row of the matrix is an axis, and a pair that does not see it has 0 there.
    Each axis brings its own frequencies, so each may be scaled by a scheme of its own, or by none.

    Attributes:
        inv_freq: (n_axes, rotary_dim / 2), radians per unit of the axis.
        attention_factors: (rotary_dim / 2,), what cos and sin of each pair are multiplied with.
    """

    inv_freq: tuple[tuple[float, ...], ...]
    attention_factors: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.inv_freq:
            raise ValueError("inv_freq must have a row for each axis, got none")
        counts = [len(row) for row in self.inv_freq]
        if set(counts) != {len(self.attention_factors)} or not self.attention_factors:
            raise ValueError(
                f"every axis must have a frequency for each of the {len(self.attention_factors)} pairs that "
                f"attention_factors counts, got {counts}"
            )

    @classmethod
    def along(cls, axis: int, n_axes: int, frequencies: Frequencies) -> AxialRope:
        """Pairs that see one axis of `n_axes`, all of them."""
        if not 0 <= axis < n_axes:
            raise ValueError(f"axis must be one of 0 to {n_axes - 1}, got {axis}")
        scaled = as_scaled(frequencies)
        pairs = len(scaled.inv_freq)
        rows = tuple(scaled.inv_freq if a == axis else (0.0,) * pairs for a in range(n_axes))
        return cls(rows, (scaled.attention_factor,) * pairs)

    @classmethod
    def mixed(cls, *frequencies: Frequencies) -> AxialRope:
        """Pairs that see all axes at once, each with its frequency along each axis: RoPE-Mixed (arXiv 2403.13298v2)."""
        axes = [as_scaled(one) for one in frequencies]
        factors = sorted({axis.attention_factor for axis in axes})
        if len(factors) > 1:
            raise ValueError(
                f"a pair that sees several axes needs one attention factor, got {factors}: give them the same one"
            )
        return cls(tuple(axis.inv_freq for axis in axes), tuple(factors) * len(axes[0].inv_freq) if axes else ())

    @classmethod
    def concatenated(cls, *parts: AxialRope) -> AxialRope:
        """The pairs of several parts, one after the other: shares of a head as large as each part is."""
        n_axes = {len(part.inv_freq) for part in parts}
        if len(n_axes) != 1:
            raise ValueError(f"parts must have the same number of axes, got {sorted(n_axes)}")
        rows = zip(*(part.inv_freq for part in parts), strict=True)
        factors = tuple(factor for part in parts for factor in part.attention_factors)
        return cls(tuple(tuple(f for row in axis for f in row) for axis in rows), factors)

    @classmethod
    def blocks(cls, *frequencies: Frequencies) -> AxialRope:
        """A block of pairs for each axis with all its frequencies: Qwen2-VL's images, DINOv3, Pixtral (there split)."""
        return cls.concatenated(*(cls.along(a, len(frequencies), one) for a, one in enumerate(frequencies)))

    @classmethod
    def assigned(cls, axis_of_pair: Sequence[int], *frequencies: Frequencies) -> AxialRope:
        """Pair i sees the axis `axis_of_pair[i]` with that axis's i-th frequency: M-RoPE.

        Args:
            axis_of_pair: (rotary_dim / 2,), as from `section_axes` and `interleaved_axes`.
            *frequencies: For each axis a whole head's, rotary_dim / 2; or one for all axes.
        """
        n_axes = max(axis_of_pair, default=-1) + 1
        axes = [as_scaled(one) for one in frequencies] * (n_axes if len(frequencies) == 1 else 1)
        counts = [len(axis.inv_freq) for axis in axes]
        if min(axis_of_pair, default=-1) < 0 or len(axes) < n_axes or set(counts) != {len(axis_of_pair)}:
            raise ValueError(
                f"{len(axis_of_pair)} pairs on axes {sorted(set(axis_of_pair))} need {len(axis_of_pair)} frequencies "
                f"for every axis from 0, got {counts}"
            )
        seen = list(enumerate(axis_of_pair))
        rows = (tuple(one.inv_freq[i] if axis == a else 0.0 for i, axis in seen) for a, one in enumerate(axes))
        return cls(tuple(rows), tuple(axes[axis].attention_factor for axis in axis_of_pair))


def axial_rotary(positions: Tensor, rope: AxialRope) -> tuple[Tensor, Tensor]:
    """Cosine and sine of every pair for positions of several axes, times the attention factors, for `apply_rotary`.

    As exact at far positions as `rotary_cos_sin`, of which it is the general case.

    Args:
        positions: (..., n_axes), whole or not: (row, column), (t, h, w), coordinates in [-1, 1].
        rope: How the pairs see the axes.

    Returns:
        Two of (..., rotary_dim / 2) on the device of `positions`, float64 for float64, otherwise float32.
    """
    n_axes = len(rope.inv_freq)
    if positions.ndim == 0 or positions.shape[-1] != n_axes:
        raise ValueError(
            f"positions must be (..., n_axes) with n_axes {n_axes}, got {tuple(positions.shape)}: where axes come "
            "first, as in Qwen2-VL, give positions.movedim(0, -1)"
        )
    cos, sin = cos_sin_of_turns(positions, fixed_point_turns(rope.inv_freq, positions.device))
    factors = torch.tensor(rope.attention_factors, dtype=cos.dtype, device=cos.device)  # (rotary_dim / 2,)
    return cos * factors, sin * factors


def grid_positions(*sizes: int, device: torch.device | str | None = None) -> Tensor:
    """Positions of the cells of a grid, the last axis fastest: (Π sizes, n_axes), int64."""
    axes = [torch.arange(size, device=device) for size in sizes]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).flatten(0, -2)


def split_frequencies(frequencies: Frequencies, n_axes: int) -> tuple[ScaledRope, ...]:
    """Every n-th frequency for each axis, none used twice: Pixtral's rows have the even ones, its columns the odd."""
    scaled = as_scaled(frequencies)
    if n_axes < 1 or len(scaled.inv_freq) % n_axes:
        raise ValueError(f"n_axes must divide the {len(scaled.inv_freq)} frequencies, got {n_axes}")
    return tuple(ScaledRope(scaled.inv_freq[a::n_axes], scaled.attention_factor) for a in range(n_axes))


def section_axes(section: Sequence[int]) -> tuple[int, ...]:
    """The axis of each pair where axes follow one another: `mrope_section` of Qwen2-VL."""
    return tuple(axis for axis, pairs in enumerate(section) for _ in range(pairs))


def interleaved_axes(section: Sequence[int]) -> tuple[int, ...]:
    """The axis of each pair where axes take turns, and what is left is the first one's: `mrope_section` of Qwen3-VL.

    So every axis has high and low frequencies, where in `section_axes` the first one has all the high ones.
    """
    n_axes = len(section)
    axes = tuple(i % n_axes if i < n_axes * section[i % n_axes] else 0 for i in range(sum(section)))
    if any(axes.count(axis) != pairs for axis, pairs in enumerate(section)):
        raise ValueError(f"axes that take turns need a first section no smaller than the others, got {list(section)}")
    return axes
