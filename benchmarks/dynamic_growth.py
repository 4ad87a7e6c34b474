"""What dynamic scaling costs a decode step, what growth costs, how far rounding drifts, and which growth reads best.

    python benchmarks/dynamic_growth.py cost CHECKPOINT     # decode steps of four patches in turn: ratios of one run
    python benchmarks/dynamic_growth.py drift               # keys in bfloat16 after 16 growths, against float64
    python benchmarks/dynamic_growth.py step CHECKPOINT TEXT --texts 16   # perplexity and growths for several steps

`cost` takes the checkpoint's trained length for a short one (--trained), so that growth happens within minutes.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from rope_scaling import DynamicScaling, Rope, YaRN, patch_model, patched, rope_length
from rope_scaling.eval.bins import perplexity
from rope_scaling.eval.perplexity import token_nll
from rope_scaling.eval.run import load
from rope_scaling.patches.dynamic.grid import make_grid
from rope_scaling.patches.dynamic.rerotate import rerotate


@torch.inference_mode()
def cost(args: argparse.Namespace) -> None:
    """Decode the same tokens, one step of each patch in turn."""
    model, _ = load(args.checkpoint, "float32", None)
    sides = {
        "static": patch_model(copy.deepcopy(model), "yarn", factor=4, original_max_length=args.trained),
        "planned": patch_model(copy.deepcopy(model), "dynamic-yarn", factor=4, original_max_length=args.trained),
        "growing": patch_model(copy.deepcopy(model), "dynamic-yarn", factor=4, original_max_length=args.trained),
    }
    ids = torch.randint(100, 1000, (args.rows, args.tokens), generator=torch.Generator().manual_seed(0))
    caches = {name: DynamicCache(config=model.config) for name in sides}
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    scales: dict[str, list[int]] = {name: [] for name in sides}
    start = args.trained - 24
    for name, side in sides.items():
        with rope_length(side, args.tokens) if name == "planned" else rope_length(model, 1):
            side(ids[:, :start], past_key_values=caches[name], use_cache=True, logits_to_keep=1)
    for at in range(start, args.tokens):
        for name, side in sides.items():
            begun = time.perf_counter()
            side(ids[:, at : at + 1], past_key_values=caches[name], use_cache=True)
            seconds[name].append(time.perf_counter() - begun)
            held = vars(caches[name]).get("_rope_scaling_rows")
            scales[name].append(0 if held is None else int(held.rows[0]))
    report(seconds, scales, args.rows)


def report(seconds: dict[str, list[float]], scales: dict[str, list[int]], rows: int) -> None:
    """Medians as ratios, and the steps that grew beside their neighbours."""
    static = statistics.median(seconds["static"])
    print(f"rows {rows}, {len(seconds['static'])} steps, static {1000 * static:.1f} ms a step")
    for name in ("planned", "growing"):
        print(f"{name} / static, median step: {statistics.median(seconds[name]) / static:.3f}")
    grew = [n for n in range(1, len(scales["growing"])) if scales["growing"][n] != scales["growing"][n - 1]]
    extra = [seconds["growing"][n] / static - 1 for n in grew]
    print(f"steps that grew: {len(grew)}, at {grew}, each {statistics.mean(extra):.2f} steps more")
    print(f"growth, amortised over the steps: {sum(extra) / len(seconds['growing']):.4f} of a step")


def drift(args: argparse.Namespace) -> None:
    """Turn random keys of 4096 positions sixteen times by an eighth of the grid's rows a time."""
    rope = Rope.plain(1e5, 64, 8192)
    trained = torch.tensor(rope.inv_freq, dtype=torch.float64).float()
    grid = make_grid(DynamicScaling(YaRN(16.0)), rope, trained, 1.0)
    keys = torch.randn(1, 4, 4096, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    positions = torch.arange(4096)[None, None] * 4
    rows = torch.arange(0, 129, 8)
    print("rms error of keys / rms of keys: 16 growths kept exact | 16 growths rounded | one rotation | none")
    for dtype in (torch.bfloat16, torch.float16, torch.float32):
        begun = keys.to(dtype)
        exact = begun.double()
        spread = exact.pow(2).mean().sqrt()
        at_once = begun.double()
        turn_all(at_once, None, positions, rows[[0, -1]], grid)
        errors = []
        for residual, steps in ((True, rows), (False, rows), (False, rows[[0, -1]])):
            turned = begun.clone()
            rest = torch.zeros_like(turned) if residual and dtype != torch.float32 else None
            turn_all(turned, rest, positions, steps, grid)
            errors.append((turned.double() - at_once).pow(2).mean().sqrt() / spread)
        errors.append((exact - keys).pow(2).mean().sqrt() / spread)
        print(f"{str(dtype).removeprefix('torch.'):9}", " | ".join(f"{error:.2e}" for error in errors))


def turn_all(keys: Tensor, rest: Tensor | None, positions: Tensor, rows: Tensor, grid: Any) -> None:
    """Turn keys from row to row."""
    for old, new in itertools.pairwise(rows):
        one = (old[None], new[None], grid.inv_freq, grid.factors, None, 0, False, 1)
        rerotate(keys, rest, positions, *one)


def step(args: argparse.Namespace) -> None:
    """Read texts in chunks without a plan, for several growths."""
    model, tokenizer = load(args.checkpoint, "float32", None)
    ids = tokenizer(Path(args.text).read_text(encoding="utf-8"), verbose=False)["input_ids"]
    length, tokens = model.config.max_position_embeddings, args.tokens
    texts = torch.tensor(ids[: args.texts * tokens]).view(args.texts, tokens)
    with patched(model, "yarn", factor=4):
        static = token_nll(model, texts, chunk=args.chunk)
    print(f"static yarn:4: {perplexity(static, length):.2f} past {length} tokens")
    for growth in (2 ** (1 / 32), 2 ** (1 / 16), 2 ** (1 / 8), 2 ** (1 / 4), 2 ** (1 / 2), 2.0, 4.0):
        with patched(model, DynamicScaling(YaRN(4.0), growth=growth)):
            nll = token_nll(model, texts, chunk=args.chunk)
        print(f"growth {growth:.3f}: {perplexity(nll, length):.2f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["cost", "drift", "step"])
    parser.add_argument("checkpoint", nargs="?")
    parser.add_argument("text", nargs="?")
    parser.add_argument("--trained", type=int, default=1024)
    parser.add_argument("--tokens", type=int, default=2048)
    parser.add_argument("--rows", type=int, default=1)
    parser.add_argument("--texts", type=int, default=16)
    parser.add_argument("--chunk", type=int, default=32)
    args = parser.parse_args()
    {"cost": cost, "drift": drift, "step": step}[args.what](args)


if __name__ == "__main__":
    main()
