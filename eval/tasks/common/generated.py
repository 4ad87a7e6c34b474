"""A task made on the spot: what lm-eval calls for its documents, and how a draft becomes one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from datasets import Dataset

from rope_scaling.eval.tasks.common.cell import Cell, cells
from rope_scaling.eval.tasks.common.fill import Filled, Render, TooShortError, fill
from rope_scaling.eval.tasks.common.parameters import DEPTHS, LENGTHS, SAMPLES, check_grid, refuse_misspelt
from rope_scaling.eval.tasks.common.tokens import Count, counter, load_tokenizer

CHOICES = 4


@dataclass(frozen=True)
class Draft:
    """A question: its prompt of any size, and its answers.

    Attributes:
        render: makes the prompt of so many units.
        answers: what must be told.
        wrong: given the number of units in the final prompt, makes `CHOICES - 1` wrong answers or more,
            each as many strings as `answers`; the ones nearest in tokens to the right one are taken.
        needles: pieces of the prompt whose places the document tells.
        joint: what stands between several answers.
        least: units without which the question has no answer.
    """

    render: Render
    answers: Sequence[str]
    wrong: Callable[[int], Sequence[Sequence[str]]]
    needles: Sequence[str] = ()
    joint: str = ", "
    least: int = 0


@dataclass(frozen=True)
class Generated:
    """A task as lm-eval's `custom_dataset`.

    Attributes:
        name: without `_mc`; the same prompts are asked both ways.
        room: tokens left for the answer, `max_gen_toks` in its YAML.
        draft: makes a question of a cell and the task's options.
        options: what `--metadata` may set beside the grid, with defaults.
        depths: whether what is asked for has one place; else cells have no depth.
        delimiter: what stands between prompt and answer, `target_delimiter` in its YAML.
    """

    name: str
    room: int
    draft: Callable[..., Draft]
    options: Mapping[str, Any] = field(default_factory=dict)
    depths: bool = True
    delimiter: str = " "

    def __call__(
        self,
        lengths: Sequence[int] = LENGTHS,
        depths: Sequence[float] = DEPTHS,
        samples: int = SAMPLES,
        seed: int = 0,
        first: int = 0,
        **metadata: Any,
    ) -> dict[str, Dataset]:
        """Return the only split, for lm-eval, which hands over `--metadata` and `--model_args` as one.

        `first` leaves out the samples before that one.

        Raises:
            ValueError: A misspelt or impossible parameter, or no tokenizer among the model's arguments.
        """
        refuse_misspelt(self.name, metadata)
        check_grid(lengths, depths, samples, seed)
        tokenizer = load_tokenizer(metadata, self.name)
        count = counter(tokenizer, metadata.get("add_bos_token"))
        options = dict(self.options) | {key: metadata[key] for key in self.options if key in metadata}
        grid = cells(self.name, lengths, depths if self.depths else None, samples, seed, first)
        return {"test": Dataset.from_list([self.document(count, cell, options) for cell in grid])}

    def document(self, count: Count, cell: Cell, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return one question; its prompt and `room` together are the cell's length."""
        draft = self.draft(cell, **options)
        filled = self._filled(count, draft, cell)
        answer = draft.joint.join(draft.answers)
        used = count(filled.prompt + self.delimiter + answer) - filled.tokens
        if used > self.room:
            raise ValueError(
                f"the answer {answer!r} takes {used} tokens of this tokenizer, {self.name} leaves {self.room}: "
                "ask for shorter needles (--metadata)"
            )
        wrong = [draft.joint.join(one) for one in draft.wrong(filled.units)]
        choices, gold = _shuffled(cell, answer, _nearest(count, answer, wrong))
        return {
            "input": filled.prompt,
            "answer": answer,
            "answers": list(draft.answers),
            "choices": choices,
            "gold": gold,
            "length": cell.length,
            "depth": cell.depth,
            "index": cell.index,
            "seed": cell.seed,
            "prompt_tokens": filled.tokens,
            "needle_positions": [count(filled.prompt[: filled.prompt.index(one)]) for one in draft.needles],
        }

    def _filled(self, count: Count, draft: Draft, cell: Cell) -> Filled:
        try:
            filled = fill(count, draft.render, cell.length - self.room, self.room)
        except ValueError as error:
            raise type(error)(f"{self.name}: {error}") from None
        if filled.units < draft.least:
            needed = count(draft.render(draft.least, "")) + self.room
            raise TooShortError(f"{self.name}: a length of {cell.length} is too short, ask for at least {needed}")
        return filled


def _nearest(count: Count, answer: str, wrong: Sequence[str]) -> list[str]:
    """Return the wrong answers nearest in tokens: a sum of log-likelihoods favours the shorter."""
    size = count(answer)
    others = sorted(dict.fromkeys(one for one in wrong if one != answer), key=lambda one: abs(count(one) - size))
    if len(others) < CHOICES - 1:
        raise AssertionError(f"{len(others)} wrong answers for {answer!r}, {CHOICES - 1} are needed")
    return others[: CHOICES - 1]


def _shuffled(cell: Cell, answer: str, wrong: Sequence[str]) -> tuple[list[str], int]:
    choices = [answer, *wrong]
    cell.rng("choices").shuffle(choices)
    return choices, choices.index(answer)
