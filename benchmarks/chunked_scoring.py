"""Peak memory and time of scoring one text in chunks, against one forward over all of it: ratios of one run.

    python benchmarks/chunked_scoring.py CHECKPOINT TEXT --tokens 4096

Each side runs in a process of its own, on the same tokens, so that its peak is its own; memory is the peak of the
resident set less what the loaded model holds.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import torch

from rope_scaling.eval.perplexity import token_nll
from rope_scaling.eval.run import load


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@torch.inference_mode()
def whole_nll(model: torch.nn.Module, input_ids: torch.Tensor) -> torch.Tensor:
    logits = model(input_ids[None, :-1], use_cache=False).logits[0].float()  # (tokens - 1, vocabulary)
    return torch.nn.functional.cross_entropy(logits, input_ids[1:], reduction="none")


def one_side(side: str, args: argparse.Namespace) -> dict[str, float]:
    model, tokenizer = load(args.checkpoint, "auto", "cpu")
    ids = tokenizer(Path(args.text).read_text(encoding="utf-8"), verbose=False)["input_ids"]
    input_ids = torch.tensor(ids[: args.tokens])
    token_nll(model, input_ids[:64], chunk=32)  # warm up
    held, start = peak_bytes(), time.perf_counter()
    nll = whole_nll(model, input_ids) if side == "whole" else token_nll(model, input_ids, chunk=args.chunk)
    seconds = time.perf_counter() - start
    return {"extra_bytes": peak_bytes() - held, "seconds": seconds, "mean_nll": nll.double().mean().item()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("text")
    parser.add_argument("--tokens", type=int, default=4096)
    parser.add_argument("--chunk", type=int, default=512)
    parser.add_argument("--side", choices=["whole", "chunked"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        print(json.dumps(one_side(args.side, args)))
        return
    sides = {}
    for side in ("whole", "chunked"):
        done = subprocess.run([sys.executable, *sys.argv, "--side", side], capture_output=True, text=True, check=True)
        sides[side] = json.loads(done.stdout.splitlines()[-1])
        print(f"{side}: {sides[side]}")
    for key in ("extra_bytes", "seconds"):
        print(f"{key}: chunked / whole = {sides['chunked'][key] / sides['whole'][key]:.2f}")


if __name__ == "__main__":
    main()
