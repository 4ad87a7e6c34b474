"""lm-eval's own command line, with our model and tasks in reach."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rope_scaling.eval.evaluator import quiet, require_lm_eval
from rope_scaling.eval.harness_options import add_options, model_asked, move_options, said_in_file

TASKS = Path(__file__).resolve().parent / "tasks"
"""What `lm_eval --include_path` needs to find our tasks."""

PROGRAM = "rope-scaling lm-eval"


def main(argv: list[str]) -> None:
    """Run lm-eval's command line on `argv`: `run`, `ls`, `validate`, or the options of `run` alone."""
    require_lm_eval()
    from lm_eval._cli import HarnessCLI
    from lm_eval.utils import setup_logging

    setup_logging()
    cli = HarnessCLI()
    _rename(cli)
    add_options(cli)
    with _arguments(argv):
        args: Namespace = cli.parse_args()
    if "include_path" in args:
        args.include_path = _include_paths(args)
    move_options(args)
    if args.command != "run":
        cli.execute(args)
        return
    _refuse_request_cache(args)
    from rope_scaling.eval.lm import truncation_tallies
    from rope_scaling.eval.processes import ALONE, join_processes

    processes = join_processes() if model_asked(args) == "rope-hf" else ALONE  # other models divide work by themselves
    with truncation_tallies() as tallies, quiet(), processes.first_speaks():
        cli.execute(args)
        if tallies:
            print(truncation_note(sum(tallies, Counter())))


def truncation_note(truncated: Mapping[str, int]) -> str:
    """What to tell after a run."""
    told = [f"{number} {kind}" for kind, number in sorted(truncated.items()) if number]
    if not told:
        return "rope-hf: no request was truncated"
    return (
        f"rope-hf: TRUNCATED: {' and '.join(told)} requests were longer than the model and lost their "
        "beginning; what they scored is not about the whole text"
    )


@contextmanager
def _arguments(argv: list[str]) -> Iterator[None]:
    """lm-eval's parser reads, and writes, `sys.argv`."""
    before = sys.argv
    sys.argv = [PROGRAM, *argv]
    try:
        yield
    finally:
        sys.argv = before


def _rename(cli: Any) -> None:
    """Help and errors speak of the command that was typed."""
    parsers: list[ArgumentParser] = [cli._parser, *cli._subparsers.choices.values()]
    for parser in parsers:
        parser.prog = parser.prog.replace("lm-eval", PROGRAM)
        parser.usage = parser.usage and parser.usage.replace("lm-eval ", f"{PROGRAM} ")
        parser.epilog = parser.epilog and parser.epilog.replace("lm-eval ", f"{PROGRAM} ")


def _include_paths(args: Namespace) -> list[str]:
    """Ours, and the user's own from the command line or a `--config` file; the latter win."""
    own = args.include_path
    if own is None:
        own = said_in_file(args).get("include_path")
    paths = [own] if isinstance(own, str) else list(own or [])
    return [str(TASKS), *(path for path in paths if Path(path).resolve() != TASKS)]


def _refuse_request_cache(args: Namespace) -> None:
    if args.cache_requests and any("rope_" in task for task in args.tasks or []):
        raise ValueError(
            "--cache_requests keeps prompts by the name of their task alone, so prompts of other lengths, "
            "seeds and tokenizers would come back: leave it out for generated tasks"
        )
