"""Perplexity by position of one long text: unscaled, static, Transformers' own `dynamic`, and dynamic scaling here.

    python benchmarks/dynamic.py CHECKPOINT TEXT --output RUN.json     # every row that RUN.json has not
    python benchmarks/dynamic.py CHECKPOINT TEXT --output RUN.json --rows planned:dynamic-yarn

`static:SCHEME` reads the text in one pass over a KV cache, in chunks. `transformers:dynamic` is the same with a config
that asks Transformers for it. `planned:SCHEME` reads, for each range of positions, a text that ends with the range,
planned for its length: what a user with a text of that length gets. `growing:SCHEME` is one pass without a plan, whose
cached keys are rotated anew on the way. `window` is the unpatched model that sees the last L tokens only.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rope_scaling import patched
from rope_scaling.eval.bins import bins, parse_lengths, perplexity
from rope_scaling.eval.perplexity import planned_nll, token_nll, window_nll
from rope_scaling.eval.results import versions, write_json
from rope_scaling.eval.run import load

ROWS = (
    "static:none",
    "static:ntk",
    "static:yarn",
    "transformers:dynamic",
    "planned:dynamic-ntk",
    "planned:dynamic-yarn",
    "growing:dynamic-ntk",
    "growing:dynamic-yarn",
    "window",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("text", type=Path)
    parser.add_argument("--lengths", default="1k,2k,4k,8k,12k,16k")
    parser.add_argument("--factor", type=float, default=2.0)
    parser.add_argument("--rows", default=",".join(ROWS))
    parser.add_argument("--chunk", type=int, default=512)
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    edges = parse_lengths(args.lengths)
    model, tokenizer = load(args.checkpoint, "float32", None)
    ids = tokenizer(args.text.read_text(encoding="utf-8"), verbose=False)["input_ids"]
    text = torch.tensor(ids[: edges[-1]])
    for row in args.rows.split(","):
        found = json.loads(args.output.read_text()) if args.output.exists() else {"rows": {}, "versions": versions()}
        if row in found["rows"]:
            continue
        start = time.perf_counter()
        nll = score(model, text, row, edges, args)
        found = json.loads(args.output.read_text()) if args.output.exists() else found  # another process may have added
        found["rows"][row] = {
            "perplexity": {part.label: perplexity(nll, part.start, part.stop) for part in bins(edges)},
            "seconds": time.perf_counter() - start,
        }
        write_json(args.output, found, force=True)
        print(row, {k: round(v, 2) for k, v in found["rows"][row]["perplexity"].items()}, flush=True)


def score(model: Any, text: Tensor, row: str, edges: tuple[int, ...], args: argparse.Namespace) -> Tensor:
    kind, _, scheme = row.partition(":")
    length = model.config.max_position_embeddings
    if kind == "window":
        within = token_nll(model, text[:length], chunk=args.chunk)
        past = window_nll(model, text, length=length, stride=length // 4, chunk=args.chunk)
        return torch.cat((within, past))
    if kind == "transformers":
        return token_nll(transformers_dynamic(model, args.factor), text, chunk=args.chunk)
    factor = None if scheme == "none" else args.factor
    with patched(model, scheme, factor=factor):
        if kind in ("static", "growing"):
            return token_nll(model, text, chunk=args.chunk)
        return planned_nll(model, text, length=length, edges=edges, chunk=args.chunk)


def transformers_dynamic(model: Any, factor: float) -> Any:
    """The same weights in a model whose config asks Transformers for its own dynamic scaling."""
    config = type(model.config).from_dict(model.config.to_dict())
    config.rope_parameters = {**config.rope_parameters, "rope_type": "dynamic", "factor": factor}
    other = type(model)(config).eval()
    other.load_state_dict(model.state_dict())
    return other


if __name__ == "__main__":
    main()
