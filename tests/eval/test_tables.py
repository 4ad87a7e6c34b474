import io

import pytest
import torch
from rich.console import Console

from rope_scaling.eval.bins import bins
from rope_scaling.eval.compare import Row
from rope_scaling.eval.tables import print_results
from rope_scaling.eval.verdict import compare

LENGTHS = (1024, 2048, 4096, 8192, 10240, 12288)
TRAINED = 8192


def printed(width: int, name: str, offset: float, tax: float = 0.012) -> str:
    """The table of one scheme that is `offset` nats from `window` past the trained length."""
    window = 3 + torch.rand(LENGTHS[-1] - 1, generator=torch.Generator().manual_seed(0))
    nll = window.clone()
    nll[TRAINED - 1 :] += offset + 0.01 * torch.rand(len(nll) - TRAINED + 1, generator=torch.Generator().manual_seed(1))
    versus = compare(nll[TRAINED - 1 :], window[TRAINED - 1 :])
    rows = [Row(name, nll, 1.0, 2 * TRAINED, tax, versus), Row("window", window, 1.0)]
    console = Console(file=io.StringIO(), width=width)
    print_results(console, rows, bins(LENGTHS), TRAINED, TRAINED // 8)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_no_column_is_lost_on_a_narrow_terminal(width: int) -> None:
    text = printed(width, "yarn:factor=2", 0.5)
    assert max(map(len, text.splitlines())) <= width
    assert all(part.label in text for part in bins(LENGTHS))


def test_what_bought_nothing_is_told_so_in_plain_words() -> None:
    text = " ".join(printed(80, "yarn:factor=2", 0.5).split())
    assert "yarn:factor=2: worse than cutting the text to its last 8k tokens. It has bought nothing" in text
    assert "at least 2 standard errors" in text
    assert "+1.2%" in text


def test_what_beats_window_is_told_so() -> None:
    text = " ".join(printed(80, "yarn:factor=2", -0.5).split())
    assert "yarn:factor=2: predicts tokens past 8k better than cutting the text does." in text
    assert "bought nothing" not in text


def test_brackets_in_a_scheme_are_not_markup() -> None:
    assert "longrope:long_factor=[1,2]" in printed(200, "longrope:long_factor=[1,2]", 0.5)


def test_a_tax_that_rounds_to_nothing_has_no_minus() -> None:
    text = printed(80, "yarn:factor=2", 0.5, tax=-5e-9)
    assert "+0.0%" in text
    assert "-0.0%" not in text
