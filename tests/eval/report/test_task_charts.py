from pathlib import Path
from typing import Any

import pytest
from scipy import stats

from rope_scaling.eval.report.charts import Chart
from rope_scaling.eval.report.record import Record, read_record
from rope_scaling.eval.report.task_charts import charts_of
from rope_scaling.eval.report.task_tables import bars, pairs, reached, scores
from rope_scaling.eval.report.tasks import TaskFinding, task_findings
from tests.eval.report.records import NASTY, NATS, answers, nasty, nats, record, task, tasked, written


def read(folder: Path, value: Any) -> tuple[Record, dict[str, TaskFinding], dict[str, tuple[Chart, ...]]]:
    whole = read_record(written(folder, value))
    found = task_findings(whole)
    charts = charts_of(whole, found)
    names = [one.task.name for one in found]
    return whole, dict(zip(names, found, strict=True)), dict(zip(names, charts, strict=True))


def drawn(chart: Chart) -> list[dict[str, Any]]:
    """The traces that a reader points at, without bands."""
    return [trace for trace in chart.figure["data"] if trace.get("fill") is None]


def test_each_scheme_has_its_scores_and_wilsons_ends(tmp_path: Path) -> None:
    good = {"none": answers({512: 20, 1024: 3, 2048: 0}), "x:factor=4": answers({512: 19, 1024: 20, 2048: 18})}
    _, _, charts = read(tmp_path, record(format=3, tasks={"t": task(good)}))
    line, heat, _ = charts["t"]
    shares = {trace["name"]: dict(zip(trace["x"], trace["y"], strict=True)) for trace in drawn(line)}
    assert shares == {"none": {512: 1, 1024: 0.15, 2048: 0}, "x:factor=4": {512: 0.95, 1024: 1, 2048: 0.9}}
    band = next(trace for trace in line.figure["data"] if trace.get("fill") and trace["name"] == "x:factor=4")
    low, high = stats.binomtest(18, 20).proportion_ci(method="wilson")
    ends = [y for x, y in zip(band["x"], band["y"], strict=True) if x == 2048]
    assert ends == pytest.approx([low, high], abs=1e-4)
    assert heat.figure["data"][0]["z"] == [[1, 0.2, 0], [1, 0.1, 0]]
    assert heat.figure["at"][1][2] == [1.0, 2048]


def test_the_threshold_and_the_score_of_guessing_are_lines(tmp_path: Path) -> None:
    _, _, charts = read(tmp_path, tasked())
    lines = {name: {shape["y0"] for shape in chart[0].figure["layout"]["shapes"]} for name, chart in charts.items()}
    assert lines["rope_niah_single"] - {0} == {0.9}
    assert lines["rope_vt_mc"] - {0} == {0.856, 0.25}
    assert lines["rope_ppl"] - {0} == set()


def test_a_task_without_depths_has_points_side_by_side_and_no_heat_map(tmp_path: Path) -> None:
    _, _, charts = read(tmp_path, tasked())
    assert [len(one) for one in charts.values()] == [3, 1, 1]
    first, second = drawn(charts["rope_vt_mc"][0])
    assert all(one < other for one, other in zip(first["x"], second["x"], strict=True))
    assert [round((one * other) ** 0.5) for one, other in zip(first["x"], second["x"], strict=True)] == [512, 1024]
    low = stats.binomtest(5, 20).proportion_ci(method="wilson").low
    assert 0.25 - first["error_y"]["arrayminus"][1] == pytest.approx(low, abs=1e-4)


def test_too_few_texts_have_no_ends_and_no_p_value(tmp_path: Path) -> None:
    few = nats(3.0)
    for one in few["answers"]:
        one.pop("block_nll")
    whole, found, charts = read(tmp_path, record(format=3, tasks={"p": task({"none": few, "x:factor=4": few}, **NATS)}))
    assert set(drawn(charts["p"][0])[0]["error_y"]["array"]) == {0}
    assert "(" not in scores(found["p"]).rows[0][1][0]
    assert pairs(whole, found["p"]) is None


def test_names_are_shown_by_plotly_as_they_are(tmp_path: Path) -> None:
    _, _, charts = read(tmp_path, nasty())
    for chart in (chart for some in charts.values() for chart in some):
        assert not any("<" in trace.get("name", "") for trace in chart.figure["data"])
    assert any(chart.scheme == NASTY for chart in charts[NASTY])


def test_bars_are_the_share_of_lengths_that_are_held(tmp_path: Path) -> None:
    some = {"none": answers({512: 40, 1024: 39, 2048: 3}, 40), "x:factor=4": answers({512: 1, 1024: 1, 2048: 1}, 40)}
    _, found, _ = read(tmp_path, record(format=3, tasks={"t": task(some)}))
    assert reached(list(found.values())).rows == (("t", ("1k, undecided", "not to 512")),)  # type: ignore[union-attr]
    assert bars(list(found.values())) == {"t": [(33, 67), (0, 0)]}


def test_every_length_says_whether_it_reaches_the_threshold(tmp_path: Path) -> None:
    some = {"none": answers({512: 40, 1024: 39, 2048: 3}, 40)}
    _, found, _ = read(tmp_path, record(format=3, tasks={"t": task(some)}))
    cells = scores(found["t"]).rows[0][1]
    assert [cell[-1] for cell in cells[:3]] == ["✓", "?", "✗"]  # 40, 39 and 3 of 40 against 90 %
    assert cells[3] == "1k, undecided"


def test_without_the_unpatched_model_schemes_are_compared_with_the_best(tmp_path: Path) -> None:
    some = {"x:factor=4": answers({1024: 3}), "y:factor=4": answers({1024: 20}), "z:factor=4": answers({1024: 12})}
    whole, found, _ = read(tmp_path, record(format=3, tasks={"t": task(some)}))
    table = pairs(whole, found["t"])
    assert table is not None
    assert [(scheme, *cells[:2], cells[-1]) for scheme, cells in table.rows] == [
        ("x:factor=4", "y:factor=4", "past 512", "worse"),
        ("z:factor=4", "y:factor=4", "past 512", "worse"),
    ]
