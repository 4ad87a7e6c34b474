"""Fine-tune a checkpoint at a longer context, and save one that plain Transformers loads with the new length.

python examples/finetune.py CHECKPOINT OUT --scheme yarn --factor 4
python examples/finetune.py CHECKPOINT OUT --scheme yarn --factor 4 --lora 16
python examples/finetune.py CHECKPOINT OUT --scheme yarn --factor 4 --pose       # reads L tokens, reaches 4 L
accelerate launch --config_file examples/fsdp.yaml examples/finetune.py CHECKPOINT OUT ... --bf16

Needs `pip install "rope-scaling[eval]"`, and `peft` for --lora. A text is a file or a name that `rope-scaling fetch`
knows.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer, TrainingArguments, set_seed
from transformers.trainer_utils import get_last_checkpoint

from rope_scaling import describe, patch_model
from rope_scaling.eval.fetch import fetch
from rope_scaling.eval.windows import Windows


class Packed(Dataset[dict[str, Tensor]]):
    """Several short windows in one row; positions restart, so Transformers lets none look into another."""

    def __init__(self, windows: Windows, length: int) -> None:
        self.windows, self.each = windows, length // (windows.size + len(windows.lead))

    def __len__(self) -> int:
        return len(self.windows) // self.each

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        parts = [self.windows[index * self.each + part] for part in range(self.each)]
        row = {key: torch.cat([part[key] for part in parts]) for key in parts[0]}
        starts = torch.arange(self.each) * len(parts[0]["labels"])
        row["labels"][starts] = -100  # a window's first token follows nothing
        row["position_ids"] = torch.cat([torch.arange(len(part["labels"])) for part in parts])
        return row


class PoSE(Dataset[dict[str, Tensor]]):
    """Windows whose second part stands further on, up to `reach` (PoSE, arXiv 2309.10400, two chunks).

    Every distance below `reach` is met though no more than a window is read. The mask of ones matters: without a
    mask Transformers takes a jump in `position_ids` for the start of another packed text, and hides the first part.
    """

    def __init__(self, windows: Windows, reach: int, seed: int) -> None:
        self.windows, self.reach, self.seed = windows, reach, seed

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        row, rng = self.windows[index], random.Random(f"pose {self.seed} {index}")
        tokens = len(row["labels"])
        positions = torch.arange(tokens)
        positions[rng.randrange(1, tokens) :] += rng.randint(0, self.reach - tokens)
        return {**row, "position_ids": positions, "attention_mask": torch.ones_like(positions)}


def read(names: list[str]) -> str:
    """Return the texts, one after another; a name that is no file is fetched."""
    paths = [Path(name) if Path(name).is_file() else fetch(name, print) for name in names]
    return "\n\n\n".join(path.read_text(encoding="utf-8") for path in paths)


def training_rows(args: argparse.Namespace, tokenizer: Any, trained: int, reach: int) -> Dataset[dict[str, Tensor]]:
    """Return what is trained on: windows as long as the new context, short ones packed, or PoSE's."""
    count = args.steps * args.batch * args.accumulate * max(torch.cuda.device_count(), 1)
    text = read(args.text)
    if args.pose:
        return PoSE(Windows(tokenizer, text, trained, count, args.recall, args.seed), reach, args.seed)
    if args.pack:
        short = Windows(tokenizer, text, args.pack, count * (reach // args.pack), args.recall, args.seed)
        return Packed(short, reach)
    return Windows(tokenizer, text, reach, count, args.recall, args.seed)


def with_lora(model: Any, rank: int) -> Any:
    """Return the model with low-rank adapters on every linear layer of its blocks."""
    from peft import LoraConfig, get_peft_model

    return get_peft_model(model, LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear"))


def arguments(args: argparse.Namespace) -> TrainingArguments:
    """Say how to train; under `accelerate launch` processes, devices and sharding come from its configuration."""
    return TrainingArguments(
        output_dir=str(args.out / "training"),
        max_steps=args.steps,
        per_device_train_batch_size=args.batch,
        gradient_accumulation_steps=args.accumulate,
        gradient_checkpointing=args.gradient_checkpointing,
        learning_rate=args.lr,
        lr_scheduler_type="cosine",
        warmup_steps=min(20, args.steps // 5),
        adam_beta2=0.95,
        bf16=args.bf16,
        logging_steps=10,
        save_steps=args.save_every,
        save_total_limit=1,
        seed=args.seed,
        report_to="none",
        disable_tqdm=True,
        use_cpu=not torch.cuda.is_available(),
    )


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("out", type=Path)
    parser.add_argument("--scheme", default="yarn")
    parser.add_argument("--factor", type=float, default=4.0)
    parser.add_argument("--text", nargs="+", default=["comedies", "histories", "king-james"])
    parser.add_argument("--recall", type=float, default=0.5, help="share of windows with something to recall")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--accumulate", type=int, default=1)
    parser.add_argument("--lr", type=float, default=2e-4)
    parser.add_argument("--lora", type=int, metavar="RANK", help="train low-rank adapters and merge them")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--pose", action="store_true", help="read L tokens a row, at positions up to the new length")
    how.add_argument("--pack", type=int, metavar="TOKENS", help="fill rows with texts of this many tokens")
    parser.add_argument("--bf16", action="store_true", help="mixed precision")
    parser.add_argument("--gradient-checkpointing", action="store_true")
    parser.add_argument("--save-every", type=int, default=100, help="steps; the same command goes on from there")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if (args.out / "config.json").exists():
        parser.error(f"{args.out} holds a checkpoint already: choose another folder")
    return args


def main() -> None:
    """Do what the module says."""
    args = parse()
    set_seed(args.seed)
    tokenizer = AutoTokenizer.from_pretrained(args.checkpoint)
    model = AutoModelForCausalLM.from_pretrained(args.checkpoint, dtype=torch.float32)
    patch_model(model, args.scheme, factor=args.factor)
    told = describe(model)
    print(told)
    rows = training_rows(args, tokenizer, told.original_max_position_embeddings, told.max_length)
    if args.lora:
        model = with_lora(model, args.lora)
    trainer = Trainer(model=model, args=arguments(args), train_dataset=rows)
    trainer.train(resume_from_checkpoint=get_last_checkpoint(str(args.out / "training")))
    model.config.use_cache = True  # the Trainer turned it off
    if args.lora:
        trainer.model = trainer.accelerator.unwrap_model(trainer.model).merge_and_unload()
    trainer.save_model(str(args.out))
    if trainer.is_world_process_zero():
        tokenizer.model_max_length = told.max_length
        tokenizer.save_pretrained(args.out)
        print(f"saved {args.out}: {told.max_length} tokens; plain Transformers loads it")


if __name__ == "__main__":
    main()
