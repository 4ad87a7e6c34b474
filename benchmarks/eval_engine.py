"""lm-eval's own model against `rope-hf` on the same requests: memory, tokens computed, seconds; ratios of one run.

    python benchmarks/eval_engine.py                       # all of it: 13 minutes of one core
    python benchmarks/eval_engine.py needle keyed --length 2048

Random weights in the shape of SmolLM2-135M (vocabulary 49152), float32, on the CPU; texts and tokenizer are those that
the package carries. Each side of each bar runs in a process of its own, so that its peak is its own: memory is the peak
of the resident set less what the loaded model holds, seconds are those of the processor, tokens are what forward passes
read, padding and generated tokens included.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import resource
import subprocess
import sys
import time
import warnings
from typing import Any

import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from rope_scaling.eval.embedded import EMBEDDED
from rope_scaling.eval.engine.hflm import EngineHFLM
from rope_scaling.eval.perplexity import token_nll

SHAPE = LlamaConfig(
    vocab_size=49152,
    hidden_size=576,
    intermediate_size=1536,
    num_hidden_layers=30,
    num_attention_heads=9,
    num_key_value_heads=3,
    max_position_embeddings=2**20,
    tie_word_embeddings=True,
)
TEXT = EMBEDDED["macbeth"].read_text(encoding="utf-8")
TOKENIZER = AutoTokenizer.from_pretrained(str(EMBEDDED["tiny-llama-512"]))
IDS: list[int] = TOKENIZER(TEXT, verbose=False).input_ids
CHOICES = [" amber", " cobalt", " crimson", " olive"]


def haystack(tokens: int, start: int = 0) -> str:
    told: str = TOKENIZER.decode((IDS * (1 + tokens // len(IDS)))[start : start + tokens], skip_special_tokens=True)
    return told


def asked(kind: str, *arguments: Any) -> Instance:
    return Instance(kind, {}, arguments, 0)


def memory(lm: Any, args: argparse.Namespace) -> list[Any]:
    """The log-likelihood of one long text."""
    return list(lm.loglikelihood_rolling([asked("loglikelihood_rolling", haystack(args.memory_tokens))]))


def needle(lm: Any, args: argparse.Namespace) -> list[Any]:
    """One needle at five depths, four choices each."""
    hay = haystack(args.length).split(" ")
    requests = []
    for depth in (0.0, 0.25, 0.5, 0.75, 1.0):
        at = round(depth * len(hay))
        text = " ".join([*hay[:at], "The secret colour is olive.", *hay[at:]])
        requests += [asked("loglikelihood", f"{text}\nThe secret colour is", choice) for choice in CHOICES]
    return list(lm.loglikelihood(requests))


def keyed(lm: Any, args: argparse.Namespace) -> list[Any]:
    """Eight questions about one haystack, answered in eight tokens."""
    options = {"until": [], "max_gen_toks": 8, "do_sample": False}
    text = haystack(args.length)
    questions = [f"{text}\nWhat did witness number {number} say?" for number in range(8)]
    return list(lm.generate_until([asked("generate_until", one, dict(options)) for one in questions]))


def curve(lm: Any, args: argparse.Namespace) -> list[Any]:
    """Perplexity at four lengths: a sliding window for each of them, or one pass."""
    ids = torch.tensor(IDS[: args.length])
    if isinstance(lm, EngineHFLM):
        return [token_nll(lm.model, ids).double().mean().item()]
    told = [sliding(lm.model, ids, args.length // 2**power, args.length // 16) for power in (3, 2, 1, 0)]
    return told[-1:]


@torch.no_grad()
def sliding(model: Any, ids: torch.Tensor, length: int, stride: int) -> float:
    """The usual script: windows of `length` every `stride` tokens, those tokens scored that no window before scored."""
    total, scored = 0.0, 1
    for start in range(0, len(ids), stride):
        stop = min(start + length, len(ids))
        labels = ids[start:stop].clone()
        labels[: scored - start] = -100
        total += model(ids[None, start:stop], labels=labels[None]).loss.double().item() * (stop - scored)
        scored = stop
        if stop == len(ids):
            break
    return total / (len(ids) - 1)


def choices(lm: Any, args: argparse.Namespace) -> list[Any]:
    """Short questions of 60 tokens with four answers of a few tokens."""
    rng = random.Random(0)
    contexts = [haystack(60, rng.randrange(len(IDS) - 100)) for _ in range(args.documents)]
    answers = [haystack(rng.randint(3, 8), rng.randrange(len(IDS) - 100)) for _ in range(4)]
    return list(lm.loglikelihood([asked("loglikelihood", one, " " + answer) for one in contexts for answer in answers]))


def unrelated(lm: Any, args: argparse.Namespace) -> list[Any]:
    """Short texts that share nothing."""
    rng = random.Random(1)
    texts = [haystack(rng.randint(40, 100), rng.randrange(len(IDS) - 100)) for _ in range(3 * args.documents)]
    return list(lm.loglikelihood([asked("loglikelihood", text[:-20], text[-20:]) for text in texts]))


BARS = {one.__name__: one for one in (memory, needle, keyed, curve, choices, unrelated)}
"""What is asked; `choices` and `unrelated` in batches of one and of eight."""


def one_side(bar: str, args: argparse.Namespace) -> dict[str, Any]:
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    make = EngineHFLM if args.side == "ours" else HFLM
    lm: Any = make(LlamaForCausalLM(SHAPE).eval(), tokenizer=TOKENIZER, batch_size=args.batch_size)
    lm.loglikelihood([asked("loglikelihood", "warm", " up")], disable_tqdm=True)
    read = [0]
    lm.model.register_forward_pre_hook(count(read), with_kwargs=True)
    held, start = peak_bytes(), time.process_time()
    told = BARS[bar](lm, args)
    spent = {"seconds": time.process_time() - start, "tokens": read[0], "extra GB": (peak_bytes() - held) / 1e9}
    return {**spent, "told": told}


def count(read: list[int]) -> Any:
    def hook(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        ids = args[0] if args else kwargs["input_ids"]
        read[0] += ids.numel()

    return hook


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def same(one: Any, other: Any) -> bool:
    """Whether two answers agree: texts exactly, numbers to 1e-5 of their size."""
    if isinstance(one, float):
        return abs(one - other) <= 1e-5 * abs(other)
    if isinstance(one, list):
        return all(same(a, b) for a, b in zip(one, other, strict=True))
    return bool(one == other)


def compare(bar: str, batch_size: int) -> None:
    sides = {}
    for side in ("theirs", "ours"):
        command = [sys.executable, *sys.argv, "--side", side, "--bar", bar, "--batch-size", str(batch_size)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        sides[side] = json.loads(done.stdout.splitlines()[-1])
    theirs, ours = sides["theirs"], sides["ours"]
    cells = []
    for key, shown in (("seconds", "{:.1f}"), ("tokens", "{:.0f}"), ("extra GB", "{:.2f}")):
        told = f"{shown.format(theirs[key])} → {shown.format(ours[key])}"
        cells.append(told + (f" ({theirs[key] / ours[key]:.1f}×)" if ours[key] > 0.1 else ""))
    equal = "yes" if same(ours["told"], theirs["told"]) else "NO"
    print(f"| {bar} | {batch_size} | {' | '.join(cells)} | {equal} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bars", nargs="*", choices=[*BARS, []], help="which; all unless given")
    parser.add_argument("--length", type=int, default=1024, help="tokens of needle, keyed and curve")
    parser.add_argument("--memory-tokens", type=int, default=16384)
    parser.add_argument("--documents", type=int, default=24, help="questions of choices")
    for hidden in ("--side", "--bar"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    parser.add_argument("--batch-size", type=int, default=1, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        print(json.dumps(one_side(args.bar, args)))
        return
    print("| bar | batch | seconds | tokens | extra GB | same answers |\n|---|---|---|---|---|---|")
    for bar in args.bars or BARS:
        for batch_size in (1, 8) if bar in ("choices", "unrelated") else (1,):
            compare(bar, batch_size)


if __name__ == "__main__":
    main()
