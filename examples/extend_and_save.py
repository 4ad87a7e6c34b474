"""Extend a checkpoint, look at what was done, write it, and load it without this package.

python examples/extend_and_save.py CHECKPOINT OUT --scheme yarn --factor 2
"""

from __future__ import annotations

import argparse

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from rope_scaling import describe, patch_model


def main() -> None:
    """Do what the module says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("out")
    parser.add_argument("--scheme", default="yarn")
    parser.add_argument("--factor", type=float, default=2.0)
    args = parser.parse_args()

    model = AutoModelForCausalLM.from_pretrained(args.checkpoint)
    tokenizer = AutoTokenizer.from_pretrained(args.checkpoint)
    patch_model(model, args.scheme, factor=args.factor)
    print(describe(model))
    model.save_pretrained(args.out)
    tokenizer.save_pretrained(args.out)

    plain = AutoModelForCausalLM.from_pretrained(args.out)
    ids = tokenizer("The quick brown fox jumps over the lazy dog", return_tensors="pt").input_ids
    with torch.no_grad():
        same = torch.equal(plain(ids).logits, model(ids).logits)
    print(f"plain Transformers loads {args.out} with the same logits: {same}")


if __name__ == "__main__":
    main()
