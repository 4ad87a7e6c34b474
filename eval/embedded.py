"""What the package carries in itself: a small trained checkpoint and a text it has never seen (docs/tiny.md)."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

_ASSETS = Path(__file__).parent / "assets"

EMBEDDED: Mapping[str, Path] = MappingProxyType(
    {
        "tiny-llama-512": _ASSETS / "tiny-llama-512",
        "macbeth": _ASSETS / "macbeth.txt",
    }
)
