from html import unescape
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt

from rope_scaling.eval.report.job import ReportJob, run_report
from rope_scaling.eval.report.markdown import block, cell, code
from tests.eval.report.records import NASTY, nasty, record, tasked, written


def rendered(markdown: str) -> str:
    return MarkdownIt("commonmark", {"html": True}).enable("table").render(markdown)


def made(folder: Path, value: Any) -> str:
    run_report(ReportJob(written(folder, value), summary=folder / "card.md", force=True))
    return (folder / "card.md").read_text(encoding="utf-8")


def test_the_summary_has_a_verdict_a_scheme_and_its_tables(tmp_path: Path) -> None:
    html = rendered(made(tmp_path, record()))
    assert html.count("<li><code>") == 4
    assert html.count("<table>") == 4
    assert all(f"<td>{one['perplexity']:.2f}</td>" in html for one in record()["rows"][0]["bins"])
    assert "<h2>Context extension of <code>tiny llama</code></h2>" in html
    assert "rope-scaling eval '/home/me/tiny llama' --lengths 256,512,1k,2k" in unescape(html)


def test_foreign_text_stays_text_for_a_reader_that_allows_html(tmp_path: Path) -> None:
    html = rendered(made(tmp_path, nasty()))
    plain = rendered(made(tmp_path, tasked()))
    assert "<script" not in html
    assert "<img" not in html
    for tag in ("<h1", "<h2", "<td", "<tr", "<li", "<pre", "<code"):
        assert html.count(tag) == plain.count(tag), tag
    assert unescape(html).count(NASTY) >= 10


@pytest.mark.parametrize("text", ["a", "`", "``a`b```", " ", "", "a|b", "<b>", "*a*", "a\nb", "](x)", "\\", "`\\"])
def test_a_code_span_shows_what_it_is_given(text: str) -> None:
    shown = unescape(rendered(f"x {code(text)} y"))
    assert shown.startswith("<p>x <code>")
    if text.strip():
        assert text.replace("\n", " ") in shown


@pytest.mark.parametrize("text", ["a|b", "`|`", "||", "a"])
def test_a_cell_shows_what_it_is_given(text: str) -> None:
    html = unescape(rendered(f"| a | b |\n|---|---|\n| {cell(text)} | 1 |"))
    assert f"{text}</code></td>" in html.replace(" </code>", "</code>")
    assert html.count("<td>") == 2


@pytest.mark.parametrize("text", ["a", "```", "````\n# a", "~~~"])
def test_a_block_ends_where_it_should(text: str) -> None:
    html = rendered(f"{block(text)}\n\nafter")
    assert html.count("<pre>") == 1
    assert html.endswith("<p>after</p>\n")
    assert "<h1>" not in html
