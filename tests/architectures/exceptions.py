"""Where the matrix is not equal: what is refused and why, and what is equal but for rounding."""

from __future__ import annotations

from dataclasses import dataclass

from tests.architectures.native import SCHEMES


@dataclass(frozen=True)
class Refusal:
    """Schemes that an architecture cannot be patched with, the reason, and words of the error."""

    schemes: tuple[str, ...]
    reason: str
    says: str


_ALL = tuple(SCHEMES)
_ZEROS = Refusal(
    ("yarn", "yarn with mscale", "llama3", "longrope"),
    "its full-attention layers have pairs that stand still, which only the type `proportional` says, and its config "
    "class refuses `longrope` where head_dim differs by layer",
    "cannot be told scheme",
)
REFUSED: dict[str, Refusal] = {
    "beam": Refusal(_ALL, "only its sliding-window layers rotate, and the window lies within L", "sliding window"),
    "roformer": Refusal(
        _ALL, "a sinusoid table that is looked up without position_ids", "has no rotary position embedding"
    ),
    "recurrent_gemma": Refusal(
        tuple(scheme for scheme in SCHEMES if scheme not in ("none", "ntk")),
        "its rotary module takes no rope_type but `default`",
        "cannot be told scheme",
    ),
    **dict.fromkeys(["gemma4_text", "gemma4_unified_text"], _ZEROS),
}
