"""What all remap schemes share: trained frequencies, true distances within L, and a length to reach."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, TypeGuard

from rope_scaling.remap import Band, Bands, LogRatio, Region
from rope_scaling.rope import Rope, ScaledRope
from rope_scaling.schemes.base import Scheme
from rope_scaling.schemes.factor import check_factor, factor_at
from rope_scaling.schemes.over import check_over, scheme_over


@dataclass(frozen=True)
class Reach:
    """What has to be bridged.

    Attributes:
        trained: L, or what `over` makes of it: relative positions stay below.
        target: Tokens that are to be reached.
        start: Queries before it see every key at its true distance.
    """

    trained: int
    target: int
    start: int


@dataclass(frozen=True)
class Remap(ABC):
    """Gives each pair of query i and key j a relative position below L by a rule of (i, j) alone.

    So the text's length, the call and the batch change nothing: a KV cache, chunked prefill and one forward agree.
    `start` is ours, not the papers': queries before it see every key at its true distance, and a text within L is the
    unpatched model's bit for bit. 0 is the papers' own. `log_scale` is Su's (2021, kexue.fm/archives/8823) and in the
    code of ReRoPE's and of Self-Extend's authors: softmax over more keys than in training is too flat.

    Attributes:
        factor: s.
        over: A frequency scheme under the remap, such as "ntk:factor=2": L becomes what that scheme reaches, and the
            remap bridges the rest. None: the trained frequencies.
        start: The first query that is remapped, at most L; L unless given.
        log_scale: Whether the scores of query i are multiplied by log(i + 1) / log L from L on.
    """

    name: ClassVar[str]
    factor: float | None = None
    over: str | None = None
    start: int | None = None
    log_scale: bool = True

    def __post_init__(self) -> None:
        check_factor(self.factor)
        check_over(self.name, self.over)
        check_count("start", self.start, 0)
        if not isinstance(self.log_scale, bool):
            raise ValueError(f"log_scale must be true or false, got {self.log_scale!r}")

    def __call__(self, rope: Rope, length: float | None = None) -> ScaledRope:
        """The frequencies of `over`, the same for every length; the trained ones without it."""
        if self.over is None:
            return ScaledRope(rope.inv_freq, rope.attention_factor)
        return scheme_over(self.over)(rope)

    def rope_parameters(self, rope: Rope) -> None:
        """No native type remaps positions."""
        return

    def bands(self, rope: Rope, length: float | None = None) -> Bands:
        """The relative position of every pair for texts of up to `length` tokens, s = `factor` (2) without it."""
        reach = self._reach(rope, length)
        if reach.target <= reach.start:
            return (Band(Region()),)
        untouched = (Band(Region(last=reach.start)),) if reach.start else ()
        return untouched + self._remapped(reach)

    def score_scale(self, rope: Rope, length: float | None = None) -> LogRatio | None:
        """By what the scores of each query are multiplied; None where by nothing."""
        reach = self._reach(rope, length)
        if not self.log_scale or reach.target <= reach.trained:
            return None
        return LogRatio(reach.trained)

    @abstractmethod
    def _remapped(self, reach: Reach) -> Bands:
        """The bands of queries from `reach.start` on."""

    def _reach(self, rope: Rope, length: float | None) -> Reach:
        trained = rope.original_max_position_embeddings
        target = round(trained * factor_at(rope, self.factor, length))
        if self.over is not None:
            trained = int(trained * factor_at(rope, scheme_over(self.over).factor, None))
            if length is None and target <= trained:
                raise ValueError(
                    f"over={self.over!r} reaches {trained} tokens by itself and {target} are asked for, so "
                    f"{self.name} would do nothing: ask for more, or use {self.over!r} alone"
                )
        start = trained if self.start is None else self.start
        if start > trained:
            raise ValueError(
                f"start must be at most the trained length {trained}: a query after it sees positions that were never "
                f"trained; got {start}"
            )
        return Reach(trained, target, start)


def is_remap(scheme: Scheme) -> TypeGuard[Remap]:
    """Whether a scheme changes the positions that attention sees, and not (only) the frequencies."""
    return isinstance(scheme, Remap)


def check_count(name: str, value: object, least: int) -> None:
    """ValueError unless `value` is None or a whole number of at least `least`."""
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
        raise ValueError(f"{name} must be a whole number of at least {least}, got {value!r}")


def window_within(name: str, window: int | None, reach: Reach, share: float) -> int:
    """The window, this share of L unless given, or an error where it leaves no positions beyond it."""
    usual = max(1, int(reach.trained * share))
    chosen = usual if window is None else window
    if chosen >= reach.trained:
        raise ValueError(
            f"{name}'s window must be below the trained length {reach.trained}, got {chosen}: nothing would be left "
            f"for what lies beyond; try window={usual}"
        )
    return chosen
