"""What `factor` means, the same for every scheme."""

from __future__ import annotations

import math

from rope_scaling.rope import Rope

DEFAULT_FACTOR = 2.0


def check_factor(factor: object, name: str = "factor") -> None:
    """ValueError unless `factor` is None or a finite number of at least 1."""
    if factor is None:
        return
    number = isinstance(factor, (int, float)) and not isinstance(factor, bool)
    if not number or not math.isfinite(factor) or factor < 1:  # type: ignore[arg-type, operator]
        raise ValueError(f"{name} must be a finite number of at least 1 (new length / trained length), got {factor!r}")


def factor_at(rope: Rope, factor: float | None, length: float | None) -> float:
    """The s of a sequence of `length` tokens: max(1, length / L), at most `factor` where that is given.

    Without a length, `factor` itself (2 unless given). arXiv 2309.00071v2, section 3.3, "dynamic scaling".
    """
    if length is None:
        return float(DEFAULT_FACTOR if factor is None else factor)
    s = max(1.0, length / rope.original_max_position_embeddings)
    return s if factor is None else min(s, float(factor))


def resolve_factor(
    rope: Rope,
    given: float | None,
    factor: float | None = None,
    max_length: int | None = None,
    default: float = DEFAULT_FACTOR,
) -> float:
    """The one s that a scheme's own `given` factor, `factor` and `max_length` agree on, else `default`.

    Raises:
        ValueError: Where two of them disagree, or one is less than 1 or not finite.
    """
    length = rope.original_max_position_embeddings
    said = {"the scheme's factor": given, "factor": factor}
    if max_length is not None:
        if isinstance(max_length, bool) or not isinstance(max_length, int) or max_length < length:
            raise ValueError(
                f"max_length must be an integer of at least the trained length {length}, got {max_length!r}"
            )
        said["max_length / trained length"] = max_length / length
    said = {name: value for name, value in said.items() if value is not None}
    for name, value in said.items():
        check_factor(value, name)
    values = [float(value) for value in said.values() if value is not None]
    if any(not math.isclose(value, values[0], rel_tol=1e-9) for value in values):
        told = ", ".join(f"{name} = {value}" for name, value in said.items())
        raise ValueError(f"contradicting factors: {told} (trained length {length}); give one of them")
    return values[0] if values else default
