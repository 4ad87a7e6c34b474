"""STRING: the positions of far tokens shifted back to where training was dense."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rope_scaling.remap import Affine, Band, Bands, Region
from rope_scaling.schemes.remapped import Reach, Remap, check_count


@dataclass(frozen=True)
class STRING(Remap):
    """i - j below S, else i - j - S + W (arXiv 2410.18745v1). It reaches 2 L - W tokens at most.

    The paper uses it within L, with S from L / 3 to L / 2, to leave rarely trained positions out: that is `start=0`
    with a `shift`. As an extension S is what the target needs. The authors' code counts pairs at distance S twice in
    its prefill and multiplies cos and sin by 0.1 ln 2 + 1; we follow the paper (and `log_scale`).

    Attributes:
        window: W, the position where the shifted distances start; 128 or L / 16 unless given, whichever is less.
        shift: S.
    """

    name: ClassVar[str] = "string"
    window: int | None = None
    shift: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("window", self.window, 0)
        check_count("shift", self.shift, 1)

    def _remapped(self, reach: Reach) -> Bands:
        window = min(128, reach.trained // 16) if self.window is None else self.window
        least = reach.target - reach.trained + window
        if least > reach.trained:
            most = 2 * reach.trained - window
            raise ValueError(
                f"string with window={window} reaches {most} tokens, short of the {reach.target} asked for: ask for "
                f'max_length={most}, or let a frequency scheme do its part: over="yarn:factor=..."'
            )
        shift = max(least, reach.trained // 3, window + 1) if self.shift is None else self.shift
        if not max(least, window + 1) <= shift <= reach.trained:
            raise ValueError(
                f"string's shift must be from {max(least, window + 1)} to {reach.trained} to bring {reach.target} "
                f"tokens within the trained length with window={window}, got {shift}; or leave it out"
            )
        near = Region(first=reach.start, farthest=shift)
        far = Region(first=reach.start, nearest=shift)
        return Band(near), Band(far, Affine(offset=window - shift))
