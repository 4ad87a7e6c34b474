"""What each scheme is worth past the trained length: perplexity, passkey, needles, variables (docs/remap.md).

    python benchmarks/quality.py --factor 4 -o quality.jsonl                 # the embedded checkpoint
    python benchmarks/quality.py --checkpoint "$(rope-scaling fetch smollm2)" --text tragedies --texts 1 \
        --factor 2 --ask 12k,16k --depths 0,0.5 --samples 2 --batch-size 1 -o quality.jsonl
    python benchmarks/quality_report.py quality.jsonl --markdown quality.md --picture docs/pictures/quality

A line is written as soon as it is measured, and what stands in the file is not measured again. `window` is the
unpatched model that sees the last L tokens only: of a question, its end.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import re
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from lm_eval import simple_evaluate
from lm_eval.tasks import TaskManager
from torch import Tensor

from rope_scaling import describe, patched
from rope_scaling.eval.bins import at, bins, parse_lengths, perplexity, short
from rope_scaling.eval.compare import default_stride
from rope_scaling.eval.fetch import fetch
from rope_scaling.eval.lm import RopeHFLM, TruncationWarning
from rope_scaling.eval.perplexity import planned_nll, token_nll, window_nll
from rope_scaling.eval.results import versions
from rope_scaling.eval.run import load
from rope_scaling.eval.tasks.configs import rope_tasks
from rope_scaling.eval.verdict import block_means
from rope_scaling.schemes import DynamicScaling, parse_scheme

SCHEMES = (
    "window,none,linear,ntk,yarn,dynamic-yarn,self-extend,rerope,leaky-rerope,dca,lampe,"
    'string,string:over="yarn:factor={share}"'
)
"""`share` is the factor over 1.6: what `string` leaves to another scheme where it does not reach."""
CHUNK = 1024
"""Tokens of a forward pass: from 768 queries on PyTorch's attention for a CPU is quicker."""
TASKS = "rope_passkey,rope_niah_multikey_mc,rope_vt_mc"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default=str(fetch("tiny-llama-512")))
    parser.add_argument("--text", default="macbeth", help="a file, or what rope-scaling fetch knows")
    parser.add_argument("--schemes", default=SCHEMES)
    parser.add_argument("--factor", type=float, default=4.0)
    parser.add_argument("--taken", help="as if it had been trained to this length only: what a scheme costs within it")
    parser.add_argument("--lengths", help="edges of the ranges of positions; of L and the factor unless given")
    parser.add_argument("--texts", type=int, default=16, help="stretches of the text")
    parser.add_argument("--tasks", default=TASKS)
    parser.add_argument("--ask", help="lengths of questions; the edges from L on unless given")
    parser.add_argument("--depths", help="of what is asked for, such as 0,0.5; five from 0 to 1 unless given")
    parser.add_argument("--samples", type=int, default=4, help="questions for each length and depth")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--measures", default="perplexity,tasks")
    parser.add_argument("-o", "--output", type=Path, required=True)
    args = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore", TruncationWarning)  # `window` is about what is cut off
    Study(args).run()


class Study:
    """One checkpoint at one factor, under every scheme."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.model, self.tokenizer = load(args.checkpoint, "float32", None)
        (taken,) = parse_lengths(args.taken) if args.taken else (None,)
        self.taken, self.length = taken, taken or describe(self.model).original_max_position_embeddings
        self.edges = parse_lengths(args.lengths) if args.lengths else edges_of(self.length, args.factor)
        self.texts = self.stretches()
        self.bos = int(self.texts[0, 0]) == self.tokenizer.bos_token_id

    def run(self) -> None:
        """Measure and write whatever does not stand in the file yet."""
        tasks = self.args.tasks.split(",") if "tasks" in self.args.measures else []
        measures = ["perplexity"] * ("perplexity" in self.args.measures) + tasks
        known = rows_of(self.args.output)
        for scheme in schemes_of(self.args.schemes, self.args.factor):
            for measure in measures:
                what = self.what(scheme, measure)
                before = [row for row in known if what.items() <= row.items()]
                if any("refused" not in row for row in before):
                    continue
                start = time.perf_counter()
                row = what | self.measured(scheme, measure)
                if any(row.get("refused") == one["refused"] for one in before):
                    continue
                row |= {"seconds": round(time.perf_counter() - start, 1), "versions": versions()}
                with self.args.output.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(row) + "\n")
                print(f"{scheme} × {self.args.factor:g}, {measure}: {told(row)}, {row['seconds']} s", flush=True)

    def what(self, scheme: str, measure: str) -> dict[str, Any]:
        """All that a row depends on."""
        name = Path(self.args.checkpoint).name + (f", as if trained to {self.args.taken}" if self.taken else "")
        what = {"checkpoint": name, "length": self.length, "factor": self.args.factor}
        what |= {"scheme": scheme, "measure": measure}
        if measure == "perplexity":
            return what | {"text": self.args.text, "texts": self.args.texts, "edges": list(self.edges)}
        return what | self.grid()

    def grid(self) -> dict[str, Any]:
        """Which questions are asked."""
        depths = {"depths": [float(depth) for depth in self.args.depths.split(",")]} if self.args.depths else {}
        asked = parse_lengths(self.args.ask) if self.args.ask else [edge for edge in self.edges if edge >= self.length]
        return {"lengths": list(asked), "samples": self.args.samples, **depths}

    def measured(self, scheme: str, measure: str) -> dict[str, Any]:
        """The numbers, or why there are none."""
        try:
            with self.under(scheme):
                return self.nll(scheme) if measure == "perplexity" else self.answers(scheme, measure)
        except ValueError as error:
            return {"refused": str(error)}

    @contextlib.contextmanager
    def under(self, scheme: str) -> Iterator[None]:
        """The model under a scheme."""
        if scheme in ("window", "none"):
            yield
            return
        with patched(self.model, parse_scheme(scheme), factor=self.args.factor, original_max_length=self.taken):
            yield

    def nll(self, scheme: str) -> dict[str, Any]:
        """Perplexity by position, and the means of blocks of tokens past L, which are compared by pairs."""
        parts = [self.read(scheme, part) for part in self.texts.split(self.args.batch_size)]
        nll = torch.cat(parts)
        found = {part.label: perplexity(nll, part.start, part.stop) for part in bins(self.edges)}
        means = block_means(at(nll, self.length))
        return {"perplexity": found, "blocks": [[round(value, 6) for value in text] for text in means.tolist()]}

    def read(self, scheme: str, texts: Tensor) -> Tensor:
        """Nats of each token."""
        if scheme == "window":
            stride = default_stride(self.length)
            beyond = window_nll(self.model, texts, length=self.length, stride=stride, bos=self.bos, chunk=CHUNK)
            return torch.cat([token_nll(self.model, texts[:, : self.length], chunk=CHUNK), beyond], dim=1)
        if scheme != "none" and isinstance(parse_scheme(scheme), DynamicScaling):
            return planned_nll(self.model, texts, length=self.length, edges=self.edges, chunk=CHUNK)
        return token_nll(self.model, texts, chunk=CHUNK)

    def answers(self, scheme: str, task: str) -> dict[str, Any]:
        """The score of each question."""
        cut = scheme == "window"
        room = self.length if cut else max(self.grid()["lengths"]) + 64
        lm = RopeHFLM(
            self.model,
            tokenizer=self.tokenizer,
            max_length=room,
            chunk=CHUNK,
            batch_size=self.args.batch_size,
            add_bos_token=self.bos,
            allow_truncation=cut,
        )
        config = rope_tasks(self.tokenizer, [task], **self.grid(), add_bos_token=self.bos)
        manager = TaskManager(include_defaults=False)
        evaluate: Any = simple_evaluate
        samples = evaluate(lm, tasks=config, task_manager=manager, bootstrap_iters=0)["samples"][task]
        asked = sorted(samples, key=lambda one: one["doc_id"])
        return {"answers": [[one["doc"]["length"], one["doc"].get("depth"), one["acc"]] for one in asked]}

    def stretches(self) -> Tensor:
        """(texts, tokens), each with BOS where the tokenizer gives one."""
        path = Path(self.args.text)
        content = (path if path.is_file() else fetch(self.args.text)).read_text(encoding="utf-8")
        ids = self.tokenizer(content, verbose=False)["input_ids"]
        lead = ids[:1] if ids[0] == self.tokenizer.bos_token_id else []
        body, each, count = ids[len(lead) :], self.edges[-1] - len(lead), self.args.texts
        if len(body) < count * each:
            raise ValueError(f"{self.args.text} has {len(body)} tokens, {count} times {each} are asked for")
        return torch.tensor([lead + body[start : start + each] for start in range(0, count * each, each)])


def edges_of(length: int, factor: float) -> tuple[int, ...]:
    """Half of L, L, half of the target where that is past L by as much, and the target."""
    target = round(length * factor)
    middle = target // 2 if factor >= 3 else (length + target) // 2
    return length // 2, length, middle, target


def schemes_of(text: str, factor: float) -> list[str]:
    """The schemes of a list with commas between, which stand between a scheme's options too."""
    return re.split(r",(?=[\w-]+(?::|,|$))", text.replace("{share}", f"{factor / 1.6:g}"))


def rows_of(path: Path) -> list[dict[str, Any]]:
    """What stands in a file; nothing where there is none."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [json.loads(line) for line in lines]


def told(row: dict[str, Any]) -> str:
    """A row in short."""
    if "refused" in row:
        return f"refused: {row['refused']}"
    if "perplexity" in row:
        return ", ".join(f"{label} {value:.2f}" for label, value in row["perplexity"].items())
    scores: dict[int, list[float]] = {}
    for length, _, score in row["answers"]:
        scores.setdefault(length, []).append(score)
    return ", ".join(f"{short(length)} {sum(found):g} of {len(found)}" for length, found in sorted(scores.items()))


if __name__ == "__main__":
    main()
