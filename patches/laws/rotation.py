"""The laws that can be seen in what attention compares and mixes: queries and keys are rotated, values are not."""

from __future__ import annotations

from collections import Counter

import torch
from torch import Tensor

from rope_scaling.patches.laws.law import LawResult, judge, undecided
from rope_scaling.patches.laws.measure import Recording, Rotation, changes, measure_rotations
from rope_scaling.patches.laws.watch import Attention

NAMES = ("values", "queries and keys", "relative", "norms", "origin", "frequencies")


def rotation_laws(recording: Recording, absolute: str | None) -> tuple[LawResult, ...]:
    """Hold a recording against each law of `NAMES`; `absolute` says what in the model is exempt by design."""
    if not recording.rotated():
        told = "does not apply: no layer's queries or keys follow position_ids"
        return tuple(undecided(name, told) for name in NAMES)
    if any(not vectors.any() for layer in recording.rotated() for vectors in (layer[0].query, layer[0].key)):
        return tuple(undecided(name, "cannot be told: queries or keys are all zero") for name in NAMES)
    rotations = measure_rotations(recording)
    results = (
        _values(recording),
        _queries_and_keys(recording),
        _relative(recording),
        _norms(recording),
        _origin(recording, rotations),
        _frequencies(recording, rotations),
    )
    return tuple(
        undecided(one.name, f"does not apply: {absolute}", one.measured, one.bound)
        if one.passed is False and absolute is not None
        else one
        for one in results
    )


def _values(recording: Recording) -> LawResult:
    moved = max(
        float((one.value - layer[0].value).abs().max())
        for layer in recording.layers[: recording.same]
        for one in layer.values()
    )
    return judge(
        "values",
        moved,
        0.0,
        "values are the same, bit for bit, at every position",
        f"values change with the position (by up to {moved:.2g}): V must not be rotated",
    )


def _queries_and_keys(recording: Recording) -> LawResult:
    rotated = recording.rotated()
    torn = [layer for layer in rotated if not (changes(layer, "query") and changes(layer, "key"))]
    only = "queries" if torn and changes(torn[0], "query") else "keys"
    free = len(recording.layers) - len(rotated)
    rest = f"; {free} turn neither (NoPE)" if free else ""
    return judge(
        "queries and keys",
        float(len(torn)),
        0.0,
        f"{len(rotated)} of {len(recording.layers)} layers turn both queries and keys{rest}",
        f"{len(torn)} of {len(recording.layers)} layers turn their {only} only: dot products follow absolute positions",
    )


def _relative(recording: Recording) -> LawResult:
    """q·k of positions 3 apart, near and far, relative to the lengths of q and k."""
    far = recording.reach
    pairs = [(3, 0), (4, 1), (7, 4), (far, far - 3)]
    spread = 0.0
    for layer in recording.rotated():
        products = torch.stack([_product(layer[p].query, layer[q].key) for p, q in pairs])  # (pairs, heads)
        spread = max(spread, float((products - products[0]).abs().max()))
    return judge(
        "relative",
        spread,
        recording.angle_bound,
        "q·k is the same wherever query and key stand 3 tokens apart",
        "q·k of a query and a key 3 tokens apart depends on where they stand, not on p − q only",
    )


def _product(query: Tensor, key: Tensor) -> Tensor:
    """Cosine of the angle between each query head and its key head, (heads,)."""
    key = key.repeat_interleave(query.shape[0] // key.shape[0], dim=0)  # grouped-query attention
    cosine: Tensor = (query * key).sum(dim=-1) / (query.norm(dim=-1) * key.norm(dim=-1))
    return cosine


def _norms(recording: Recording) -> LawResult:
    stretched = 0.0
    for layer in recording.rotated():
        for what in ("query", "key"):
            lengths = torch.stack([getattr(one, what).norm(dim=-1) for one in layer.values()])  # (positions, heads)
            stretched = max(stretched, float((lengths / lengths[:1] - 1).abs().max()))
    return judge(
        "norms",
        stretched,
        4 * recording.eps,
        "queries and keys keep their lengths at every position",
        "queries or keys change their lengths with the position: what is applied is no rotation",
    )


def _origin(recording: Recording, rotations: list[Rotation]) -> LawResult:
    if isinstance(recording.unrotated, str):
        return undecided("origin", f"cannot be told: {recording.unrotated}")
    off = 0.0
    turned = [i for i, layer in enumerate(recording.layers) if any(layer is one for one in recording.rotated())]
    for i, rotation in zip(turned, rotations, strict=True):
        if i >= recording.same:
            break
        for what in ("query", "key"):
            bare, zero = (_window(one, what, rotation) for one in (recording.unrotated[i], recording.layers[i][0]))
            meant = rotation.table.attention_factor * bare
            off = max(off, float((zero - meant).norm() / meant.norm()))
    factors = sorted({rotation.table.attention_factor for rotation in rotations})
    times = "" if factors == [1.0] else f" times the attention_factor {', '.join(f'{f:.4g}' for f in factors)}"
    return judge(
        "origin",
        off,
        2 * recording.eps,
        f"at position 0 queries and keys are as projected{times}",
        f"at position 0 queries and keys are not as projected{times}",
    )


def _window(one: Attention, what: str, rotation: Rotation) -> Tensor:
    vectors: Tensor = getattr(one, what)
    return vectors[:, rotation.start : rotation.start + 2 * len(rotation.inv_freq)]


def _frequencies(recording: Recording, rotations: list[Rotation]) -> LawResult:
    worst = max(rotations, key=lambda one: max(one.misfit, one.angle_error))
    measured = max(worst.misfit, worst.angle_error)
    layouts = Counter(one.layout for one in rotations)
    layout = " and ".join(layouts)
    backwards = ", turned backwards" if worst.direction < 0 else ""
    live = worst.table.inv_freq.tolist()
    pair = max(range(len(live)), key=lambda i: abs(worst.inv_freq[i] - live[i]))
    if worst.misfit > recording.angle_bound:
        broken = "queries and keys are not turned in pairs, neither half-split nor interleaved"
    else:
        broken = (
            f"pair {pair} turns by {worst.inv_freq[pair]:.4g} radians per token, "
            f"where the live inv_freq says {live[pair]:.4g} ({layout})"
        )
    count = 2 * len(live)
    holds = f"{count} dimensions turn by inv_freq × position up to {recording.reach} ({layout}{backwards})"
    return judge("frequencies", measured, recording.angle_bound, holds, broken)
