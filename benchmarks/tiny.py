"""The embedded checkpoint past its 512 tokens: every scheme, perplexity and passkeys with intervals (docs/tiny.md).

python benchmarks/tiny.py [CHECKPOINT ...] [-o tiny.json]
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

from rope_scaling.eval.bins import at, bins, perplexity
from rope_scaling.eval.compare import Plan, Row, run
from rope_scaling.eval.fetch import fetch
from rope_scaling.eval.retrieval import run_passkey
from rope_scaling.eval.run import load

LENGTHS = (256, 512, 1024, 2048)
SCHEMES = (
    "none",
    *(f"{name}:factor={factor}" for factor in (2, 4) for name in ("linear", "ntk", "yarn", "yarn-turns", "llama3")),
    *(f"dynamic-{name}:factor=4" for name in ("ntk", "yarn")),
)


def texts(tokenizer: Any, count: int, length: int) -> Tensor:
    """Return stretches of the held-out play, (count, length), each after BOS."""
    ids = tokenizer(fetch("macbeth").read_text(encoding="utf-8"), add_special_tokens=False, verbose=False)["input_ids"]
    body = torch.tensor(ids[: count * (length - 1)]).view(count, length - 1)
    return torch.cat([torch.full((count, 1), tokenizer.bos_token_id), body], dim=1)


def spread(row: Row, plain: Row, start: int, stop: int) -> str:
    """Return the perplexity in a range, over the unscaled model's within 512, with 2 standard errors over the texts."""
    ours, base = at(row.nll, start, stop).mean(-1), at(plain.nll, 0, LENGTHS[1]).mean(-1)
    difference = (ours - base).double()
    error = difference.std() / math.sqrt(len(difference))
    low, high = (torch.exp(difference.mean() + side * error).item() for side in (-2, 2))
    return f"{perplexity(row.nll, start, stop):.1f} (×{low:.2f}-{high:.2f})"


def measure(checkpoint: str, schemes: tuple[str, ...], samples: int, out: Console) -> dict[str, Any]:
    model, tokenizer = load(checkpoint, "float32", None)
    plan = Plan(schemes, batch_size=16, edges=LENGTHS)
    rows = run(model, texts(tokenizer, 16, LENGTHS[-1]), plan, bos=True)
    plain = next((row for row in rows if row.name == "none"), rows[-1])
    keys = run_passkey(model, tokenizer, plan, LENGTHS, samples)
    ranges = bins(LENGTHS)
    out.print("| scheme | " + " | ".join(f"ppl {part.label}" for part in ranges) + " | verdict past 512 |")
    for row in rows:
        cells = [spread(row, plain, part.start, part.stop) for part in ranges]
        versus = row.versus_window
        told = "" if versus is None else f"{versus.mean_difference:+.3f} ± {versus.standard_error:.3f}"
        out.print(f"| {row.name} | " + " | ".join(cells) + f" | {told} |", soft_wrap=True)
    out.print("| scheme | " + " | ".join(f"passkey {length}" for length in LENGTHS) + " |")
    for name, result in keys.items():
        cells = []
        for cell in result["accuracy"]:
            low, high = cell["interval"]
            cells.append(f"{cell['accuracy']:.0%} ({low:.0%}-{high:.0%})")
        out.print(f"| {name} | " + " | ".join(cells) + " |", soft_wrap=True)
    by_range = {row.name: [perplexity(row.nll, part.start, part.stop) for part in ranges] for row in rows}
    return {"checkpoint": checkpoint, "perplexity": by_range, "passkey": keys}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", nargs="*")
    parser.add_argument("--scheme", action="append")
    parser.add_argument("--samples", type=int, default=20, help="passkeys for each length and depth")
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args()
    out = Console(width=200)
    schemes = tuple(args.scheme or SCHEMES)
    checkpoints = args.checkpoint or [str(fetch("tiny-llama-512"))]
    found = [measure(checkpoint, schemes, args.samples, out) for checkpoint in checkpoints]
    if args.output:
        args.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
