"""The page in Chromium: drawn, without a request, for keyboard, screen reader, dark, narrow and paper."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

from rope_scaling.eval.report.job import ReportJob, run_report
from tests.eval.report.records import NASTY, nasty, record, written

pytestmark = pytest.mark.slow
WIDTHS, THEMES = (1280, 400), ("light", "dark")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    found = next((path for name in ("chromium", "google-chrome") if (path := shutil.which(name))), None)
    with sync_playwright() as playwright:  # without one on the path: the one that `playwright install` brings
        chromium = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="module", params=["plain", "nasty"])
def report(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    run_report(ReportJob(written(folder, record() if request.param == "plain" else nasty())))
    return folder / "run.html"


class Seen:
    """A page, and what it said and asked for."""

    def __init__(self, browser: Browser, path: Path, width: int = 1280, theme: Any = "light", **options: Any) -> None:
        self.page: Page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=theme, **options)
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.complaints.append(dialog.message), dialog.dismiss()))
        self.page.on("request", lambda asked: self.requests.append(asked.url))
        self.page.goto(path.as_uri())


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_every_chart_is_drawn_without_a_request_an_error_or_a_barrier(
    browser: Browser, report: Path, width: int, theme: str
) -> None:
    seen = Seen(browser, report, width, theme)
    charts = seen.page.locator("[data-chart]")
    assert charts.count() == 4
    for chart in charts.all():
        assert chart.locator(".scatterlayer .trace, .heatmaplayer .hm").count() > 0
    assert seen.page.evaluate("document.documentElement.scrollWidth") <= width
    found = Axe().run(seen.page).response["violations"]
    assert [(one["id"], one["nodes"][0]["html"]) for one in found] == []
    assert seen.complaints == []
    assert seen.requests == [report.as_uri()]
    seen.page.close()


def test_a_point_tells_its_number_when_it_is_pointed_at(browser: Browser, report: Path) -> None:
    seen = Seen(browser, report)
    chart = seen.page.locator('[data-chart="perplexity"]')
    chart.scroll_into_view_if_needed()
    place = chart.locator(".scatterlayer .points path").nth(5).bounding_box()
    assert place is not None
    seen.page.mouse.move(place["x"] + place["width"] / 2, place["y"] + place["height"] / 2, steps=5)
    expect(chart.locator(".hoverlayer")).to_contain_text("perplexity")
    assert re.search(r"tokens \d+-\d+: perplexity \d+", chart.locator(".hoverlayer").text_content() or "")
    seen.page.close()


def test_a_cell_tells_its_interval(browser: Browser, report: Path) -> None:
    seen = Seen(browser, report)
    chart = seen.page.locator('[data-chart="passkeys-1-none"]')
    chart.scroll_into_view_if_needed()
    place = chart.locator(".heatmap-label text").first.bounding_box()
    assert place is not None
    seen.page.mouse.move(place["x"] + place["width"] / 2, place["y"] + place["height"] / 2, steps=5)
    expect(chart.locator(".hoverlayer")).to_contain_text("10/10 found, 95% 72% to 100%")
    seen.page.close()


def test_the_keyboard_reaches_all_and_switches_a_scheme_off_and_on(browser: Browser, report: Path) -> None:
    seen = Seen(browser, report)
    reached = []
    for _ in range(40):
        seen.page.keyboard.press("Tab")
        reached.append(seen.page.evaluate("document.activeElement.outerHTML.slice(0, 60)"))
        if "data-scheme" in reached[-1]:
            break
    for part in ("Skip to the verdicts", "#perplexity", 'id="theme"', 'class="scroll"'):
        assert any(part in one for one in reached), part
    traces = seen.page.locator('[data-chart="against-window"] .scatterlayer .trace')
    before = traces.count()
    pressed = "document.activeElement.getAttribute('aria-pressed')"
    seen.page.keyboard.press("Space")
    assert seen.page.evaluate(pressed) == "false"
    expect(traces).to_have_count(before - 2)
    seen.page.keyboard.press("Enter")
    assert seen.page.evaluate(pressed) == "true"
    expect(traces).to_have_count(before)
    assert seen.complaints == []
    seen.page.close()


def test_the_theme_follows_the_system_until_one_is_chosen(browser: Browser, report: Path) -> None:
    seen = Seen(browser, report, theme="dark")
    ground = "getComputedStyle(document.body).backgroundColor"
    ticks = "getComputedStyle(document.querySelector('.xtick text')).fill"
    assert seen.page.evaluate(ground) == "rgb(20, 23, 28)"
    assert seen.page.evaluate(ticks) == "rgb(232, 232, 232)"
    seen.page.locator("#theme").click()
    assert (seen.page.evaluate(ground), seen.page.evaluate(ticks)) == ("rgb(255, 255, 255)", "rgb(26, 26, 26)")
    seen.page.locator("#theme").click()
    assert seen.page.evaluate(ground) == "rgb(20, 23, 28)"
    seen.page.close()


def test_paper_is_white_and_wide_enough_and_the_screen_is_as_before(browser: Browser, report: Path) -> None:
    seen = Seen(browser, report, theme="dark")
    width = "document.querySelector('[data-chart=perplexity] .main-svg').getBoundingClientRect().width"
    before = seen.page.evaluate(width)
    seen.page.evaluate(f"window.printed = []; addEventListener('beforeprint', () => window.printed.push({width}))")
    seen.page.pdf(format="A4")
    assert seen.page.evaluate("window.printed[0]") == 660
    assert seen.page.evaluate(width) == before
    seen.page.emulate_media(media="print", color_scheme="dark")
    assert seen.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not seen.page.locator("nav").is_visible()
    seen.page.close()


def test_without_scripts_the_tables_and_verdicts_stand(browser: Browser, report: Path) -> None:
    seen = Seen(browser, report, java_script_enabled=False)
    assert seen.page.locator("article").count() == 4
    assert seen.page.locator("table").count() == 5
    assert seen.page.locator("noscript p").is_visible()
    assert not seen.page.locator("#theme").is_visible()
    seen.page.close()


def test_foreign_text_is_read_as_it_was_written(browser: Browser, tmp_path: Path) -> None:
    run_report(ReportJob(written(tmp_path, nasty())))
    seen = Seen(browser, tmp_path / "run.html")
    assert seen.page.locator("article h3").nth(1).inner_text() == NASTY
    assert seen.page.locator("[data-scheme] code").nth(1).inner_text() == NASTY
    name = "document.querySelector('[data-chart=perplexity]').data.map((trace) => trace.name)[2]"
    assert seen.page.evaluate(name).startswith("&lt;script&gt;")
    assert seen.page.evaluate("document.querySelectorAll('img').length") == 0
    seen.page.close()


def test_the_policy_stops_a_script_that_slipped_through(browser: Browser, tmp_path: Path) -> None:
    run_report(ReportJob(written(tmp_path, record())))
    path = tmp_path / "run.html"
    path.write_text(path.read_text(encoding="utf-8").replace("<main>", "<main><script>window.bad = 1</script>"))
    seen = Seen(browser, path)
    assert seen.page.evaluate("window.bad === undefined")
    assert seen.page.locator(".scatterlayer").count() >= 2
    seen.page.close()


def test_every_chart_is_written_as_a_picture(tmp_path: Path) -> None:
    images = tmp_path / "images"
    run_report(ReportJob(written(tmp_path, nasty()), images=images, summary=tmp_path / "card.md"))
    names = sorted(path.name for path in images.iterdir())
    assert len(names) == 8
    assert all((images / name).read_bytes().startswith(b"\x89PNG") for name in names if name.endswith(".png"))
    drawing = ElementTree.parse(images / "perplexity.svg")
    assert NASTY in [element.text for element in drawing.iter("{http://www.w3.org/2000/svg}text")]
    assert not list(drawing.iter("{http://www.w3.org/2000/svg}script"))
    assert "](images/perplexity.png)" in (tmp_path / "card.md").read_text(encoding="utf-8")
    again = tmp_path / "again"
    run_report(ReportJob(tmp_path / "run.json", tmp_path / "b.html", images=again))
    assert all((again / name).read_bytes() == (images / name).read_bytes() for name in names if name.endswith(".svg"))
