"""From a checkpoint and a text file to a table on the terminal and a record on disk."""

import dataclasses
import hashlib
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from torch import Tensor

from rope_scaling.eval.bins import at, bins, perplexity
from rope_scaling.eval.compare import Plan, Row, Watch, default_stride, run, trained_length, work
from rope_scaling.eval.results import peak_memory, refuse_existing, versions, write_json
from rope_scaling.eval.retrieval import print_passkey, run_passkey
from rope_scaling.eval.tables import print_results
from rope_scaling.eval.verdict import BLOCK, RULE, block_means


@dataclass(frozen=True)
class Job:
    """One call of `rope-scaling eval`: which model, what it is asked, how far, and where the record goes.

    Attributes:
        text: scored by position, up to the last of `lengths`; None to score none.
        lengths: edges of the position ranges, in tokens.
        texts: how many stretches of the text are scored, one after another, each as long as the last of `lengths`.
        passkey: lengths at which a passkey is asked for, in tokens.
        samples: passkeys for each length and depth.
    """

    checkpoint: str
    text: Path | None
    lengths: tuple[int, ...]
    plan: Plan
    passkey: tuple[int, ...] = ()
    samples: int = 1
    texts: int = 1
    output: Path | None = None
    force: bool = False
    dtype: str = "auto"
    device: str | None = None

    def __post_init__(self) -> None:
        if (self.text is None) != (not self.lengths):
            raise ValueError("--text and --lengths go together: which text, and the edges of its position ranges")
        if self.text is None and not self.passkey:
            raise ValueError("nothing to measure: give --text and --lengths, or --passkey, or all of them")
        if self.samples < 1:
            raise ValueError(f"--passkey-samples must be at least 1, got {self.samples}")
        if self.texts < 1:
            raise ValueError(f"--texts must be at least 1 stretch of the text, got {self.texts}")


def run_job(job: Job, out: Console, err: Console) -> None:
    """Measure, print the tables on `out` and the progress on `err`, write the record."""
    if job.output:
        refuse_existing(job.output, job.force)
    content = None if job.text is None else _read(job.text)
    model, tokenizer = load(job.checkpoint, job.dtype, job.device)
    length = trained_length(model, job.plan)
    record = _record(job, model, length)
    if job.text is not None and content is not None:
        input_ids = _tokens(tokenizer, content, job)
        sha256 = hashlib.sha256(content).hexdigest()
        texts, tokens = input_ids.shape
        record["text"] = {"name": job.text.name, "sha256": sha256, "texts": texts, "tokens": tokens}
        record |= _perplexity(job, model, tokenizer, input_ids, length, out, err)
    if job.passkey:
        record["passkey"] = run_passkey(
            model, tokenizer, job.plan, job.passkey, job.samples, lambda line: err.print(line, highlight=False)
        )
        print_passkey(out, record["passkey"])
    record["peak_rss_bytes"] = peak_memory()
    if job.output:
        write_json(job.output, record, force=job.force)
        out.print(f"wrote {job.output}", soft_wrap=True, highlight=False, markup=False)
        err.print(f"rope-scaling report {job.output} makes a page of it", soft_wrap=True, highlight=False, markup=False)


def _perplexity(
    job: Job, model: Any, tokenizer: Any, input_ids: Tensor, length: int, out: Console, err: Console
) -> dict[str, Any]:
    """Score the text, print the table; return what the record says of it."""
    plan = dataclasses.replace(job.plan, edges=job.lengths)
    stride = plan.stride or default_stride(length)
    texts, tokens = input_ids.shape
    bos = tokenizer.bos_token_id is not None and int(input_ids[0, 0]) == tokenizer.bos_token_id
    reads = {row: texts * count for row, count in work(plan, tokens, length).items()}
    with _progress(reads, err) as watch:
        rows = run(model, input_ids, plan, bos=bos, watch=watch)
    print_results(out, rows, bins(job.lengths), length, stride)
    return {
        "lengths": list(job.lengths),
        "window": {"stride": stride, "keeps_bos": bos},
        "block": BLOCK,
        "rule": RULE,
        "rows": [_row(row, job) for row in rows],
    }


def load(checkpoint: str, dtype: str, device: str | None) -> tuple[Any, Any]:
    """Return model, ready to score, and tokenizer."""
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    tokenizer: Any = AutoTokenizer.from_pretrained(checkpoint)
    place = device or ("cuda" if torch.cuda.is_available() else "cpu")
    model: Any = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=dtype, device_map=place)
    return model.eval(), tokenizer


def _read(path: Path) -> bytes:
    if not path.is_file():
        raise ValueError(f"no text file {str(path)!r}: rope-scaling fetch paradise-lost prints the path of one")
    return path.read_bytes()


def _tokens(tokenizer: Any, content: bytes, job: Job) -> Tensor:
    """Return the token ids of the first stretches of the text, (texts, tokens), each with BOS if a text gets one."""
    assert job.text is not None
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{job.text} is not UTF-8 text ({error.reason} at byte {error.start})") from None
    ids = tokenizer(text, verbose=False)["input_ids"]
    lead = [ids[0]] if ids and ids[0] == tokenizer.bos_token_id else []
    body, each = ids[len(lead) :], job.lengths[-1] - len(lead)
    if len(body) < job.texts * each:
        stretches = f"{job.texts} times " if job.texts > 1 else ""
        raise ValueError(
            f"{job.text.name} has {len(ids)} tokens, but --lengths asks for {stretches}{job.lengths[-1]}: "
            "choose a longer text, shorter lengths" + (" or fewer --texts" if job.texts > 1 else "")
        )
    return torch.tensor([lead + body[start : start + each] for start in range(0, job.texts * each, each)])


@contextmanager
def _progress(reads: dict[str, int], err: Console) -> Iterator[Watch]:
    """Show one bar over the whole job; it yields the function that moves it."""
    columns: Iterable[Any] = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err, transient=True, speed_estimate_period=120) as progress:
        task = progress.add_task("reading", total=sum(reads.values()))
        yield lambda row, tokens: progress.update(task, description=row, advance=tokens)


def _record(job: Job, model: Any, length: int) -> dict[str, Any]:
    """Return all that is needed to get the numbers again."""
    return {
        "kind": "rope-scaling eval",
        "format": 2,
        "command": sys.argv,
        "versions": versions(),
        "checkpoint": {
            "name": job.checkpoint,
            "model_type": model.config.model_type,
            "dtype": str(model.dtype).removeprefix("torch."),
            "device": str(model.device),
            "original_max_position_embeddings": length,
        },
        "settings": dataclasses.asdict(job.plan),
    }


def _row(row: Row, job: Job) -> dict[str, Any]:
    return {
        "scheme": row.name,
        "max_length": row.max_length,
        "seconds": round(row.seconds, 2),
        "bins": [
            {
                "range": part.label,
                "start": part.start,
                "stop": part.stop,
                "tokens": at(row.nll, part.start, part.stop).numel(),
                "perplexity": perplexity(row.nll, part.start, part.stop),
            }
            for part in bins(job.lengths)
        ],
        # a list for each stretch of the text
        "block_nll": [[round(value, 6) for value in _blocks(nll)] for nll in row.nll],
        "short_context_tax": row.tax,
        "versus_window": row.versus_window and dataclasses.asdict(row.versus_window),
    }


def _blocks(nll: Tensor) -> list[float]:
    """Return means over positions 0-63, 64-127, ...; position 0 has no score, so the first block has one less."""
    return [at(nll, 0, BLOCK).double().mean().item(), *block_means(at(nll, BLOCK)).tolist()]
