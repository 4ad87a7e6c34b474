import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from rope_scaling.eval.report.job import ReportJob, run_report
from tests.eval.report.records import NASTY, nasty, record, tasked, written


class Page(HTMLParser):
    """Elements, scripts and text of a page, as a browser's parser takes them apart."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.text: list[str] = []
        self.open: str = ""
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.open = tag
        if tag == "script":
            self.scripts.append((dict(attrs), ""))

    def handle_endtag(self, tag: str) -> None:
        self.open = ""

    def handle_data(self, data: str) -> None:
        if self.open == "script":
            attrs, before = self.scripts[-1]
            self.scripts[-1] = attrs, before + data
        elif self.open != "style":
            self.text.append(data)

    @property
    def figures(self) -> Any:
        return json.loads(next(text for attrs, text in self.scripts if attrs.get("id") == "figures"))


def made(folder: Path, value: Any) -> Page:
    run_report(ReportJob(written(folder, value), force=True))
    return Page((folder / "run.html").read_text(encoding="utf-8"))


def test_the_page_holds_every_perplexity_of_the_record(tmp_path: Path) -> None:
    text = made(tmp_path, record()).text
    for row in record()["rows"]:
        assert row["scheme"] in text
        assert all(f"{one['perplexity']:.2f}" in text for one in row["bins"])


def test_the_charts_hold_the_blocks_means(tmp_path: Path) -> None:
    figures = made(tmp_path, record()).figures
    assert set(figures) == {"perplexity", "against-window", "passkeys-1-none", "passkeys-2-good-factor-4"}
    line = next(one for one in figures["against-window"]["data"] if one["name"] == "bad:factor=4" and "fill" not in one)
    past = [y for x, y in zip(line["x"], line["y"], strict=True) if x > 512]
    assert sum(past) / len(past) == pytest.approx(0.05, abs=0.01)
    assert figures["passkeys-1-none"]["data"][0]["z"] == [[1.0, 0.1], [1.0, 0.1]]


def test_equal_records_give_equal_pages(tmp_path: Path) -> None:
    first = made(tmp_path, record())
    content = (tmp_path / "run.html").read_bytes()
    made(tmp_path, record())
    assert (tmp_path / "run.html").read_bytes() == content
    assert first.tags


def test_foreign_text_stays_text(tmp_path: Path) -> None:
    plain, strange = made(tmp_path, tasked()), made(tmp_path, nasty())
    for tag in ("script", "img", "code", "button", "section"):
        count = [sum(name == tag for name, _ in page.tags) for page in (plain, strange)]
        assert count[0] == count[1], tag
    assert not any(key.startswith("on") for _, attributes in strange.tags for key in attributes)
    text = "".join(strange.text)
    assert text.count(NASTY) >= 10
    assert "49" not in re.findall(r"`(.*?)</code>", text)  # no template was run
    labels = [attributes["aria-label"] or "" for _, attributes in strange.tags if "aria-label" in attributes]
    assert any(NASTY in label for label in labels)


def test_plotly_gets_no_tag_either(tmp_path: Path) -> None:
    for figure in made(tmp_path, nasty()).figures.values():
        for trace in figure["data"]:
            assert "<" not in trace.get("name", "")
            assert not any("<s" in text for row in trace.get("text", []) for text in row)


def test_nothing_of_the_page_lies_elsewhere(tmp_path: Path) -> None:
    page = made(tmp_path, record())
    for tag, attributes in page.tags:
        for name in ("src", "href", "data", "action", "poster", "srcset"):
            assert (attributes.get(name) or "#").startswith(("#", "data:")), (tag, attributes)
    style = re.findall(r"<style>(.*?)</style>", (tmp_path / "run.html").read_text(encoding="utf-8"), re.DOTALL)
    assert not any("url(" in one or "@import" in one for one in style)


def test_the_policy_allows_our_three_scripts_and_no_request(tmp_path: Path) -> None:
    page = made(tmp_path, nasty())
    policy = next(at["content"] for tag, at in page.tags if tag == "meta" and "Content" in (at.get("http-equiv") or ""))
    run = [text for attributes, text in page.scripts if "type" not in attributes]
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in run]
    assert len(run) == 3
    assert policy is not None
    assert re.search("script-src ([^;]*);", policy)[1].split() == [f"'sha256-{one}'" for one in hashes]  # type: ignore[index]
    assert policy.startswith("default-src 'none';")
    assert "connect-src" not in policy


def test_a_record_of_passkeys_alone_has_a_page(tmp_path: Path) -> None:
    value = {key: one for key, one in record().items() if key not in ("text", "lengths", "window", "block", "rows")}
    page = made(tmp_path, value)
    assert set(page.figures) == {"passkeys-1-none", "passkeys-2-good-factor-4"}
    assert "Perplexity" not in page.text


def test_a_record_of_one_text_alone_has_a_page(tmp_path: Path) -> None:
    value = {key: one for key, one in record().items() if key != "passkey"}
    page = made(tmp_path, value)
    assert set(page.figures) == {"perplexity", "against-window"}
    assert "Passkeys" not in page.text
