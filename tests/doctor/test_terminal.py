"""The page: what it says, at 80 and 120 columns, with and without colours and block characters."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from rope_scaling.doctor import Facts, examine
from rope_scaling.doctor.terminal import print_page
from tests.doctor.cases import CASES, GEMMA, LLAMA, YARN, nested, of, patched, scaled


def page(facts: Facts, width: int = 80, **options: Any) -> str:
    out = io.StringIO()
    print_page(Console(file=out, width=width, **options), facts, examine(facts))
    return out.getvalue()


@pytest.mark.parametrize("width", [40, 80, 120])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    for facts in (of(LLAMA, wished=131072), of(scaled(YARN, 32768), wished=131072), of(nested(False), wished=131072)):
        assert max(map(len, page(facts, width).splitlines())) <= width


def test_it_says_what_the_rope_is() -> None:
    text = page(of(scaled(YARN)))
    for part in ("RoPE of llama", "yarn", "10000", "64 / 64", "4096 tokens", "16384 tokens", "1.13863", "half-split"):
        assert part in text


def test_it_has_a_column_for_each_layer_type_and_says_which_layers_there_are() -> None:
    text = page(of(GEMMA))
    for part in ("sliding_attention", "full_attention", "1 sliding_attention, 1 full_attention", "512 tokens"):
        assert part in text


def test_it_says_which_layers_have_no_rope() -> None:
    config = LLAMA | {"model_type": "smollm3", "no_rope_layers": [1, 1, 1, 0]}
    assert "1 of 4" in page(of(config))


def test_it_tells_every_part_of_a_finding() -> None:
    facts = CASES["max-length-factor"][0]()
    symptom = examine(facts)[0].symptom
    text = " ".join(page(facts, 200).split())
    for part in (symptom.seen, symptom.consequence, symptom.mend, *symptom.engines):
        assert " ".join(part.split()) in text
    assert "warning max-length-factor" in text


def test_it_counts_what_it_found() -> None:
    assert page(of(LLAMA)).endswith("found: nothing wrong\n")
    assert "found: 1 error" in page(CASES["scaled-without-original"][0]())


def test_it_says_that_a_checkpoint_is_patched() -> None:
    assert "patched with yarn (factor 4.0): 4096 -> 16384 tokens" in " ".join(page(of(patched(4.0))).split())


def test_it_has_no_escapes_without_colours() -> None:
    assert "\x1b" not in page(CASES["max-length-factor"][0](), no_color=True)
    assert "\x1b" in page(CASES["max-length-factor"][0](), force_terminal=True, color_system="standard")


def test_it_is_ascii_where_the_terminal_is() -> None:
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="replace")
    facts = of(LLAMA)
    print_page(Console(file=out, width=80), facts, [])
    out.seek(0)
    picture = next(line for line in out.read().splitlines() if "@@" in line)
    assert "?" not in picture


def test_markup_in_a_config_is_text() -> None:
    assert "[red]x[/red]" in page(of(LLAMA | {"model_type": "[red]x[/red]"}))


def test_escapes_in_a_config_are_shown_and_not_obeyed() -> None:
    text = page(of(scaled(YARN | {"rope_type": "\x1b[2J\x1b]0;owned\x07"}, model_type="\x1b[31mllama")))
    assert "\x1b" not in text
    assert "\\x1b[2J" in text
