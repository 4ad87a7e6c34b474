"""The tasks that a run asks: ours and RULER's, their documents, and what their scores mean."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import zip_longest
from typing import Any, Literal

from transformers import PreTrainedTokenizerBase

from rope_scaling.eval.runner.grid import Grid
from rope_scaling.eval.tasks.common.generated import CHOICES
from rope_scaling.eval.tasks.common.haystack import text_sha256
from rope_scaling.eval.tasks.configs import rope_config, rope_names, rope_options, rope_rows
from rope_scaling.eval.tasks.ruler.generate import NAMES
from rope_scaling.eval.tasks.ruler.task import OWN, QA, ruler_config, ruler_names, ruler_rows

LIKE_RULER = ("rope_vt", "rope_cwe", "rope_fwe")
"""Of ours, those that are RULER's tasks in all but the wording."""

BY_POSITION = ("rope_ppl", "rope_ppl_window")
"""Those whose lengths are the ends of ranges of positions."""

Rows = list[dict[str, Any]]


@dataclass(frozen=True, eq=False)
class Source:
    """One task.

    Attributes:
        name: lm-eval's.
        grid: what is asked.
        tokenizer: the model's.
    """

    name: str
    grid: Grid
    tokenizer: PreTrainedTokenizerBase

    @property
    def ours(self) -> bool:
        """Whether it is one of this package's tasks."""
        return self.name.startswith("rope_")

    @property
    def scored(self) -> bool:
        """Whether texts are scored in nats; else questions are answered."""
        return self.name.startswith(("rope_ppl", "rope_longppl"))

    @property
    def ranges(self) -> bool:
        """Whether a length stands for the positions from the length before it on, as where perplexity is told so."""
        return self.name in BY_POSITION

    def meaning(self) -> dict[str, Any]:
        """Return what the record says of the task's scores."""
        threshold: Literal["ruler", "needle"] | None = "needle"
        if not self.ours or self.name in LIKE_RULER:
            threshold = "ruler"
        return {
            "metric": "nll" if self.scored else "acc",
            "higher_is_better": not self.scored,
            "threshold": None if self.scored else threshold,
            "chance": None if self.scored else 1 / CHOICES if self.name.endswith("_mc") else 0,
            "options": {"seed": self.grid.seed, **self.grid.options, **self._text},
        }

    def rows(self, samples: Mapping[int, int]) -> Rows:
        """Return documents, lengths by turns; those of more samples begin with those of fewer.

        Args:
            samples: for each length; where texts are scored all lengths belong together, and the most counts.

        Raises:
            ValueError: The text is another than it was: schemes would be asked different questions.
        """
        grid = self.grid
        if self._text and text_sha256(grid.options["text"]) != self._text["text"]["sha256"]:
            raise ValueError(f"{grid.options['text']} was changed while it was asked about: give the command again")
        more = {"depths": grid.depths, "seed": grid.seed, **grid.options}
        most = None if grid.limit is None else grid.limit // len(grid.lengths)
        if self.scored:
            texts = max(samples.values())
            return rope_rows(self.name, self.tokenizer, list(samples), min(texts, most or texts), **more)
        by_length = [self._of_length(length, number, more)[:most] for length, number in samples.items()]
        return [row for turn in zip_longest(*by_length) for row in turn if row is not None]

    @cached_property
    def _text(self) -> dict[str, Any]:
        """What the record says of the text that questions are made from: the same one may lie elsewhere later."""
        path = self.grid.options.get("text")
        return {} if path is None else {"text": {"path": path, "sha256": text_sha256(path)}}

    def config(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return lm-eval's configuration of the task with these documents."""
        return rope_config(self.name, rows) if self.ours else ruler_config(self.name, rows, self.grid.lengths)

    def _of_length(self, length: int, number: int, more: Mapping[str, Any]) -> Rows:
        if self.ours:
            return rope_rows(self.name, self.tokenizer, [length], number, **more)
        return ruler_rows(self.name, self.tokenizer, length, number, self.grid.seed, self.grid.options.get("text"))


def sources(grid: Grid, tokenizer: PreTrainedTokenizerBase) -> list[Source]:
    """Return the tasks of a grid, ours first.

    Raises:
        ValueError: A name that nobody knows, or a task of RULER that cannot run offline.
    """
    ours = [name for name in grid.names if name.startswith("rope_")]
    rulers = [name for name in grid.names if not name.startswith("rope_")]
    for name in rulers:
        _refuse_others(name)
    names = [*rope_names(ours), *(ruler_names(rulers, grid.options.get("text")) if rulers else [])]
    _refuse_untaken(grid.options, {name: _taken(name) for name in names})
    return [Source(name, grid, tokenizer) for name in names]


def _taken(name: str) -> tuple[str, ...]:
    """Return what `--metadata` may set for a task."""
    if name.startswith("rope_"):
        return tuple(rope_options(name))
    return ("text",) if name.endswith(OWN) else ()


def _refuse_untaken(options: Iterable[str], taken: Mapping[str, Sequence[str]]) -> None:
    """Raise ValueError for an option that none of the tasks takes."""
    known = {option: [name for name, own in taken.items() if option in own] for own in taken.values() for option in own}
    for option in options:
        if option in known:
            continue
        close = difflib.get_close_matches(option, known, n=1)
        hint = f": did you mean {close[0]!r}?" if close else "."
        told = "; ".join(f"{one} ({_some(names)})" for one, names in known.items()) or "nothing beside the grid"
        raise ValueError(f"--metadata {option!r} is for none of the tasks that are asked{hint} They take {told}")


def _some(names: Sequence[str]) -> str:
    """Return a few names, and how many more there are."""
    return ", ".join([*names[:3], *([f"{len(names) - 3} more"] if len(names) > 3 else [])])


def _refuse_others(name: str) -> None:
    """Raise ValueError for a task that is neither ours nor RULER's."""
    known = ["ruler", *NAMES, *QA]
    if name in known:
        return
    close = difflib.get_close_matches(name, known, n=1)
    hint = f": did you mean {close[0]!r}?" if close else ""
    raise ValueError(
        f"unknown task {name!r}{hint} (ours begin with rope_; of RULER: {', '.join(known)}; every other task of "
        "lm-eval runs with rope-scaling lm-eval)"
    )
