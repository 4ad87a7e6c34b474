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
from tests.eval.report.records import NASTY, answers, nasty, record, task, tasked, written

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
    run_report(ReportJob(written(folder, tasked() if request.param == "plain" else nasty())))
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
    seen.page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    charts = seen.page.locator("[data-chart]")
    assert charts.count() == 9
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
    for part in ("Skip to the verdicts", "#perplexity", "#tasks", "#answers", 'id="theme"'):
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
    # five of the text and the passkeys, how far tasks hold, two a task, where schemes agree, and the one to be filled
    assert seen.page.locator("table").count() == 5 + 1 + 2 * 3 + 1 + 1
    assert not seen.page.locator("#explorer").is_visible()
    assert all(one.is_visible() for one in seen.page.locator("noscript p").all())
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


def test_an_answer_is_read_as_the_model_wrote_it(browser: Browser, tmp_path: Path) -> None:
    run_report(ReportJob(written(tmp_path, nasty())))
    seen = Seen(browser, tmp_path / "run.html")
    row = seen.page.locator("table.answers tbody tr").first
    row.locator("td.asked summary").click()
    assert row.locator("td.asked .whole").inner_text().startswith(NASTY + "<!--\u2028\u2029]]>... The number is")
    assert row.locator("td.wanted").text_content() == "</script>" + NASTY
    assert NASTY + "\ufffd</table><!--" in (row.locator("td").nth(4).text_content() or "")
    assert seen.page.evaluate("document.querySelectorAll('img, #explorer script').length") == 0
    assert seen.complaints == []
    seen.page.close()


def shown(seen: Seen) -> list[list[str]]:
    """The rows of the answers' table."""
    return [row.locator("td").all_inner_texts() for row in seen.page.locator("table.answers tbody tr").all()]


def test_questions_on_which_schemes_disagree_come_first(browser: Browser, tmp_path: Path) -> None:
    run_report(ReportJob(written(tmp_path, tasked())))
    seen = Seen(browser, tmp_path / "run.html")
    assert seen.page.locator("#told").inner_text() == "Questions 1–18 of 18 (of 40)"
    for row in shown(seen):
        assert sorted(cell.split("\n")[0] for cell in row[4:]) == ["right", "wrong"]
    seen.page.close()


def test_filters_show_what_they_say(browser: Browser, tmp_path: Path) -> None:
    run_report(ReportJob(written(tmp_path, tasked())))
    seen = Seen(browser, tmp_path / "run.html")
    pick, told = seen.page.locator("#pick-kind"), seen.page.locator("#told")
    pick.select_option(label="wrong by good:factor=4")
    assert [row[0] for row in shown(seen)] == ["512"]
    pick.select_option(label="right by good:factor=4, wrong by none")
    assert {row[0] for row in shown(seen)} == {"1k"}
    assert told.inner_text().startswith("Questions 1–17 of 17")
    seen.page.locator("#pick-length").select_option(label="512")
    assert told.inner_text() == "Questions 0 (of 40)"
    pick.select_option(label="all questions")
    seen.page.locator("#pick-text").fill("7013")
    assert [row[3] for row in shown(seen)] == ["7013"]
    seen.page.locator("#pick-text").fill("")
    seen.page.locator("#pick-task").select_option(label="rope_ppl")
    assert told.inner_text() == "Questions 1–3 of 3"
    assert all(cell.endswith("nats") for row in shown(seen) for cell in row[4:])
    assert (seen.complaints, len(seen.requests)) == ([], 1)
    seen.page.close()


def test_the_keyboard_filters_turns_pages_and_unfolds(browser: Browser, tmp_path: Path) -> None:
    run_report(ReportJob(written(tmp_path, nasty())))
    seen = Seen(browser, tmp_path / "run.html")
    seen.page.locator("#pick-task").focus()
    for _ in range(2):
        seen.page.keyboard.press("Tab")
    seen.page.keyboard.press("Home")  # from "schemes disagree" to "all questions"
    told = seen.page.locator("#told")
    assert told.inner_text() == "Questions 1–20 of 40"
    focus = "document.activeElement.id || document.activeElement.tagName"
    reached = []
    while not reached or reached[-1] not in ("after", "BODY"):
        seen.page.keyboard.press("Tab")
        reached.append(seen.page.evaluate(focus))
    seen.page.keyboard.press("Enter")
    assert told.inner_text() == "Questions 21–40 of 40"
    assert seen.page.evaluate(focus) == "after"
    seen.page.keyboard.press("Enter")  # the last page: nothing to turn
    assert told.inner_text() == "Questions 21–40 of 40"
    while reached[-1] != "SUMMARY":
        seen.page.keyboard.press("Tab")
        reached.append(seen.page.evaluate(focus))
    seen.page.keyboard.press("Enter")
    assert seen.page.locator("table.answers tbody .whole").first.is_visible()
    assert seen.complaints == []
    seen.page.close()


def test_a_cell_and_a_mark_lead_to_their_questions(browser: Browser, tmp_path: Path) -> None:
    run_report(ReportJob(written(tmp_path, tasked())))
    seen = Seen(browser, tmp_path / "run.html")
    cell = seen.page.locator('[data-of="rope_niah_single"][data-about="none"] .heatmap-label text').nth(1)
    cell.scroll_into_view_if_needed()
    cell.click(force=True)
    assert seen.page.locator("#told").inner_text() == "Questions 1–10 of 10 (of 40), depth 0%"
    assert {(row[0], row[1]) for row in shown(seen)} == {("1k", "0%")}
    seen.page.locator('[data-look="rope_vt_mc"]').click()
    assert seen.page.locator("#pick-task option:checked").inner_text() == "rope_vt_mc"
    assert seen.page.locator("#told").inner_text() == "Questions 1–20 of 40"
    canvas = seen.page.locator("#map canvas")
    box = canvas.bounding_box()
    assert box is not None
    canvas.click(position={"x": box["width"] * 32.5 / 40, "y": 30})
    assert seen.page.locator("#told").inner_text() == "Questions 21–40 of 40"
    assert seen.page.locator("tr.here td").first.inner_text() == "1k"
    assert seen.complaints == []
    seen.page.close()


@pytest.mark.parametrize("width", WIDTHS)
def test_two_thousand_questions_are_filtered_at_once(browser: Browser, tmp_path: Path, width: int) -> None:
    many = {"none": answers({512: 900, 1024: 100}, 1000), "x:factor=4": answers({512: 950, 1024: 700}, 1000)}
    run_report(ReportJob(written(tmp_path, record(format=3, tasks={"t": task(many)}))))
    seen = Seen(browser, tmp_path / "run.html", width)
    assert seen.page.locator("#told").inner_text() == "Questions 1–20 of 650 (of 2000)"
    assert seen.page.locator("table.answers tbody tr").count() == 20
    spent = "(pick => { const from = performance.now(); pick.value = 'all'; pick.dispatchEvent(new Event('change')); "
    spent += "document.body.offsetHeight; return performance.now() - from; })(document.getElementById('pick-kind'))"
    assert seen.page.evaluate(spent) < 1000
    assert seen.page.locator("#told").inner_text() == "Questions 1–20 of 2000"
    assert seen.page.evaluate("document.documentElement.scrollWidth") <= width
    seen.page.close()


def test_paper_gets_every_task_and_the_summary_but_not_the_questions(browser: Browser, tmp_path: Path) -> None:
    tasks = {f"task_{number}": task({"none": answers({512: 1, 1024: 1})}) for number in range(5)}
    run_report(ReportJob(written(tmp_path, record(format=3, tasks=tasks))))
    seen = Seen(browser, tmp_path / "run.html")
    assert seen.page.locator("details.task[open]").count() == 1
    drawn = "document.querySelectorAll('details.task[open] .main-svg').length"
    seen.page.evaluate(f"window.printed = []; addEventListener('beforeprint', () => window.printed.push({drawn}))")
    seen.page.pdf(format="A4")
    assert seen.page.evaluate("window.printed[0]") >= 10
    assert seen.page.locator("details.task[open]").count() == 1
    seen.page.emulate_media(media="print")
    assert not seen.page.locator("#explorer").is_visible()
    assert seen.page.get_by_role("table", name="Questions on which the schemes agree").is_visible()
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
    assert len(names) == 2 * 9
    assert all((images / name).read_bytes().startswith(b"\x89PNG") for name in names if name.endswith(".png"))
    drawing = ElementTree.parse(images / "perplexity.svg")
    assert NASTY in [element.text for element in drawing.iter("{http://www.w3.org/2000/svg}text")]
    assert not list(drawing.iter("{http://www.w3.org/2000/svg}script"))
    assert "](images/perplexity.png)" in (tmp_path / "card.md").read_text(encoding="utf-8")
    again = tmp_path / "again"
    run_report(ReportJob(tmp_path / "run.json", tmp_path / "b.html", images=again))
    assert all((again / name).read_bytes() == (images / name).read_bytes() for name in names if name.endswith(".svg"))
