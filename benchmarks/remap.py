"""What remapped positions cost: time and memory of a prefill, time of a step, against the unpatched model (Linux).

    python benchmarks/remap.py                                  # 8k and 16k: half an hour of one core
    python benchmarks/remap.py --lengths 4k --layers 2 --schemes dca:factor=4
    python benchmarks/remap.py --attention --repeat 5 --flex    # the attention of one layer alone, all schemes
    python benchmarks/remap.py --step --repeat 50               # one query's attention: keys turned anew, or kept
    python benchmarks/remap.py --memory --repeat 5              # memory alone, so many processes a side

Random weights in the shape of SmolLM2-135M, L = 4096, float32 unless `--dtype` says otherwise, batch 1, a DynamicCache,
on the CPU. All sides take turns in one process, so that a busy machine slows them alike; a figure is the median of
ratios to the unpatched model's seconds of processor in the same turn. Memory is measured in processes of their own,
medians of each side's: the peak of the resident set less what the model holds ("resident"), and the same where glibc is
made to give every larger block back as soon as it is freed ("held": what tensors take, without the holes between them).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from rope_scaling import patch_model
from rope_scaling.eval.bins import parse_lengths
from rope_scaling.eval.results import versions, write_json
from rope_scaling.patches.remap.engine import RotatedPairs, attend, attend_one_query, key_turn, tiled
from rope_scaling.patches.remap.engine.coded import decode, encode
from rope_scaling.patches.remap.engine.placed import Placed
from rope_scaling.patches.remap.engine.tiles import cut
from rope_scaling.remap import Bands
from rope_scaling.rope import Rope
from rope_scaling.schemes import is_remap, parse_scheme

TRAINED = 4096
SCHEMES = ("self-extend:factor=4", "self-extend:factor=4,start=0")
ALL = (
    *SCHEMES,
    "leaky-rerope:factor=4,start=0",
    "rerope:factor=4,start=0",
    "dca:factor=4,start=0",
    "string:factor=1.9,start=0",
    "lampe:factor=4,start=0",
)
UNPATCHED = "unpatched"


def model_of(layers: int, scheme: str, dtype: str) -> Any:
    config = LlamaConfig(
        vocab_size=49152,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=layers,
        num_attention_heads=9,
        num_key_value_heads=3,
        max_position_embeddings=TRAINED,
        rope_parameters={"rope_type": "default", "rope_theta": 1e5},
        tie_word_embeddings=True,
    )
    torch.manual_seed(0)
    model = LlamaForCausalLM(config).eval().to(getattr(torch, dtype))
    return model if scheme == UNPATCHED else patch_model(model, parse_scheme(scheme))


def text(length: int) -> torch.Tensor:
    return torch.randint(0, 49152, (1, length), generator=torch.Generator().manual_seed(length))


def seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.process_time()
    made = work()
    return time.process_time() - start, made


def model_times(length: int, args: argparse.Namespace) -> dict[str, dict[str, float]]:
    """For each side the prefill of `length` tokens and a step after it."""
    sides = (UNPATCHED, *args.schemes)
    models = {side: model_of(args.layers, side, args.dtype) for side in sides}
    ids, caches = text(length), {}
    prefill: dict[str, list[float]] = {side: [] for side in sides}
    for _ in range(args.repeat):
        for side, model in models.items():
            took, made = seconds(partial(model, ids, use_cache=True, logits_to_keep=1))
            prefill[side].append(took)
            caches[side] = made.past_key_values
    step: dict[str, list[float]] = {side: [] for side in sides}
    for _ in range(args.steps):
        for side, model in models.items():
            took, _ = seconds(partial(model, ids[:, :1], past_key_values=caches[side]))
            step[side].append(took)
    return {side: {"prefill": ratio(prefill, side), "step": ratio(step, side)} for side in sides} | {
        "seconds": {"prefill": min(prefill[UNPATCHED]), "step": min(step[UNPATCHED])}
    }


def ratio(times: dict[str, list[float]], side: str) -> float:
    """The median over turns, the first step or prefill among them only where there is no other."""
    pairs = list(zip(times[side], times[UNPATCHED], strict=True))
    return statistics.median(own / other for own, other in pairs[1:] or pairs)


def memory_of(length: int, args: argparse.Namespace) -> dict[str, dict[str, float]]:
    """For each side the peak of a prefill, resident and held."""
    sides = (UNPATCHED, *args.schemes)
    found: dict[str, dict[str, float]] = {side: {} for side in sides}
    for kind in ("resident", "held"):
        peaks = {side: [memory(length, side, kind == "held", args) for _ in range(args.repeat)] for side in sides}
        print(length, kind, {side: [round(peak / 2**20) for peak in own] for side, own in peaks.items()}, flush=True)
        for side, own in peaks.items():
            found[side][kind] = statistics.median(own) / statistics.median(peaks[UNPATCHED])
    return found


def memory(length: int, side: str, held: bool, args: argparse.Namespace) -> int:
    """Bytes at the peak of a prefill above those of the loaded model, in a process of its own."""
    command = [sys.executable, __file__, "--child", side, "--lengths", str(length)]
    command += ["--layers", str(args.layers), "--dtype", args.dtype]
    environment = os.environ | ({"MALLOC_MMAP_THRESHOLD_": "65536"} if held else {})
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return int(done.stdout.split()[-1])


def child(side: str, length: int, layers: int, dtype: str) -> None:
    model = model_of(layers, side, dtype)
    model(text(8), use_cache=True, logits_to_keep=1)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew, at what is held now
    before = resident("VmRSS")
    model(text(length), use_cache=True, logits_to_keep=1)
    print(resident("VmHWM") - before)


def resident(kind: str) -> int:
    """Bytes of this process, on Linux."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(kind))


def attention_times(length: int, args: argparse.Namespace) -> dict[str, dict[str, float]]:
    """One layer's attention of `length` queries: SDPA, each scheme, and one scheme by compiled FlexAttention."""
    dtype = getattr(torch, args.dtype)
    query, key, value = (torch.randn(1, length, heads, 64, dtype=dtype).transpose(1, 2) for heads in (9, 3, 3))
    rope = Rope.plain(1e5, 64, TRAINED)
    pairs = RotatedPairs(torch.tensor(rope.inv_freq, dtype=torch.float32))

    def sdpa() -> None:
        torch.nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True, enable_gqa=True)

    works: dict[str, Callable[[], Any]] = {UNPATCHED: sdpa}
    for name in args.schemes:
        scheme = parse_scheme(name)
        assert is_remap(scheme)
        works[name] = partial(attend, query, key, value, scheme.bands(rope), pairs)
    found: dict[str, dict[str, float]] = {}
    if args.flex:
        compiling, works["flex"] = seconds(lambda: flex(query, key, value, window=2048))
        found["seconds to compile flex"] = {"attention": compiling + seconds(works["flex"])[0]}
    times: dict[str, list[float]] = {side: [] for side in works}
    for _ in range(args.repeat):
        for side, work in works.items():
            times[side].append(seconds(work)[0])
    return found | {side: {"attention": ratio(times, side)} for side in works}


def step_times(length: int, args: argparse.Namespace) -> dict[str, dict[str, float]]:
    """The attention of the last query in every layer: SDPA, keys turned anew, and keys kept where bands want them.

    Each layer has keys of its own, as in a model: those of one layer would stay in the processor's cache. What a step
    does once for all layers (angles) is not timed, nor is what keeping would cost: a second set of keys, and the turn
    of the newest.
    """
    dtype = getattr(torch, args.dtype)
    query = torch.randn(1, 9, 1, 64, dtype=dtype)
    layers = [tuple(torch.randn(2, 1, 3, length, 64, dtype=dtype)) for _ in range(args.layers)]
    rope, index = Rope.plain(1e5, 64, TRAINED), torch.arange(length)[None]
    pairs = RotatedPairs(torch.tensor(rope.inv_freq, dtype=torch.float32))
    sdpa = partial(torch.nn.functional.scaled_dot_product_attention, enable_gqa=True)
    anew: dict[str, Callable[[], Any]] = {UNPATCHED: lambda: [sdpa(query, *layer) for layer in layers]}
    kept = dict(anew)
    for name in args.schemes:
        scheme = parse_scheme(name)
        assert is_remap(scheme)
        bands = scheme.bands(rope)
        turn = key_turn(index[:, -1:], index, bands, pairs)
        step = partial(attend_one_query, turn=turn, pairs=pairs)
        anew[name] = lambda step=step: [step(query, *layer) for layer in layers]  # type: ignore[misc]
        ready = [over_kept_keys(bands, query, *layer, pairs) for layer in layers]
        kept[name] = lambda ready=ready: [one() for one in ready]  # type: ignore[misc]
    found: dict[str, dict[str, float]] = {side: {} for side in anew}
    for column, works in (("step, anew", anew), ("step, kept", kept)):
        times: dict[str, list[float]] = {side: [] for side in works}
        for _ in range(args.repeat):
            for side, work in works.items():
                times[side].append(seconds(work)[0])
        for side in works:
            found[side][column] = ratio(times, side)
    return found


def over_kept_keys(
    bands: Bands, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, pairs: RotatedPairs
) -> Callable[[], Any]:
    """The tiled attention of one query, its keys turned beforehand and its tiles cut."""
    index = torch.arange(key.shape[2])
    numbers, query_offsets, key_offsets = encode(bands, index[-1:], index)
    placed = Placed(key, key_offsets, pairs)
    given = tiled.Inputs(query, key, value, decode(tuple(numbers)), query_offsets, key_offsets, pairs, 64**-0.5)
    (block,) = cut(tuple(band.region for band in given.bands), key.shape[2] - 1, key.shape[2], 1)
    return lambda: tiled.over_tiles(given, block, given.queries_of(block)[1], placed)


def flex(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, window: int) -> Callable[[], Any]:
    """The least that FlexAttention has to do for Self-Extend: its two bands, neither turned nor merged.

    Merging needs the log-sum-exp, which PyTorch 2.13 does not compile for the CPU.
    """
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    n = query.shape[2]
    near = create_block_mask(lambda b, h, i, j: (j <= i) & (i - j < window), None, None, n, n, device="cpu")
    far = create_block_mask(lambda b, h, i, j: i - j >= window, None, None, n, n, device="cpu")
    compiled = torch.compile(flex_attention)
    return lambda: [compiled(query, key, value, block_mask=mask, enable_gqa=True) for mask in (near, far)]


def table(found: dict[str, Any]) -> str:
    columns = [(length, what) for length, sides in found.items() for what in next(iter(sides.values()))]
    lines = ["| ratio to the unpatched model | " + " | ".join(f"{what} {length}" for length, what in columns) + " |"]
    lines.append("|---|" + "---|" * len(columns))
    for side in next(iter(found.values())):
        row = (f"{found[length][side].get(what, float('nan')):.2f}" for length, what in columns)
        lines.append(f"| `{side}` | " + " | ".join(row) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", default="8k,16k")
    parser.add_argument("--schemes", nargs="*")
    parser.add_argument("--layers", type=int, default=30)
    parser.add_argument("--repeat", type=int, default=2, help="prefills, and processes whose memory is measured")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--attention", action="store_true")
    parser.add_argument("--step", action="store_true")
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--flex", action="store_true")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--child")
    args = parser.parse_args()
    torch.set_grad_enabled(False)
    asked = attention_times if args.attention else step_times if args.step else memory_of if args.memory else None
    measures = [asked] if asked else [model_times, memory_of]
    args.schemes = args.schemes or (ALL if args.attention or args.step else SCHEMES)
    lengths = parse_lengths(args.lengths)
    if args.child:
        return child(args.child, lengths[-1], args.layers, args.dtype)
    found: dict[str, Any] = {}
    for length in lengths:
        sides = found[str(length)] = {}
        for measure in measures:
            for side, numbers in measure(length, args).items():
                sides.setdefault(side, {}).update(numbers)
            print(table(found), flush=True)
    if args.output:
        write_json(
            args.output, {"found": found, "threads": torch.get_num_threads(), "versions": versions()}, force=True
        )
    print(json.dumps(found))
    return None


if __name__ == "__main__":
    main()
