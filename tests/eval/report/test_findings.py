import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from rope_scaling.eval.report.blocks import curve
from rope_scaling.eval.report.findings import Finding, findings
from rope_scaling.eval.report.record import Record, read_record
from tests.eval.report.records import EDGES, base, keys, record, row, shifted, written


def read(folder: Path, **changes: Any) -> Record:
    return read_record(written(folder, record(**changes)))


def found(folder: Path, **changes: Any) -> dict[str, Finding]:
    return {one.scheme: one for one in findings(read(folder, **changes))}


def test_what_beats_what_does_not_and_what_is_the_same(tmp_path: Path) -> None:
    answers = {name: one.beats for name, one in found(tmp_path).items()}
    assert answers == {"none": "no", "good:factor=4": "yes", "bad:factor=4": "no", "same:factor=2": "undecided"}


def test_the_difference_past_the_trained_length_is_the_one_put_in(tmp_path: Path) -> None:
    good = found(tmp_path)["good:factor=4"]
    assert good.past is not None
    assert good.past.low < -0.05 < good.past.high
    assert good.past.high - good.past.low < 0.01  # the text's own ups and downs are gone
    assert good.effect == pytest.approx(-0.05 / 0.01, rel=0.2)


def test_the_tax_is_the_one_put_in(tmp_path: Path) -> None:
    tax = found(tmp_path)["good:factor=4"].tax
    assert tax is not None
    assert tax.low is not None
    assert tax.high is not None
    assert tax.low < math.expm1(0.03) < tax.high
    assert tax.low < tax.value < tax.high


def test_equal_scores_cost_nothing_and_have_no_interval_around_it(tmp_path: Path) -> None:
    same = found(tmp_path)["same:factor=2"]
    assert same.tax is not None
    assert same.past is not None
    assert (same.tax.value, same.tax.low, same.tax.high) == (0, 0, 0)
    assert (same.past.mean, same.past.low, same.past.high) == (0, 0, 0)


def test_the_unpatched_model_pays_no_tax(tmp_path: Path) -> None:
    assert found(tmp_path)["none"].tax is None


def test_a_difference_that_one_scheme_in_twenty_shows_by_chance_is_undecided_among_twenty(tmp_path: Path) -> None:
    plain = base(texts=2)
    # z about 2.4: p about 0.02 alone, and 0.4 among twenty
    one = row("weak:factor=4", plain, 2048, plain)
    noise = np.random.default_rng(0).standard_normal((2, 32))
    noise = 0.05 * (noise - noise[:, 8:].mean()) / noise[:, 8:].std()
    one["block_nll"] = (np.array(plain) + noise - 2.4 * 0.05 / math.sqrt(48)).tolist()
    window = row("window", plain, None, plain)
    others = [row(f"same{number}:factor=4", plain, 2048, plain) for number in range(19)]
    assert found(tmp_path, rows=[one, window])["weak:factor=4"].beats == "yes"
    among = found(tmp_path, rows=[one, *others, window])["weak:factor=4"]
    assert among.past is not None
    assert among.past.high < 0
    assert among.beats == "undecided"


def test_how_far_it_reads_ends_where_it_is_worse_than_the_window(tmp_path: Path) -> None:
    plain = base()
    late = [
        [value + (0.2 if at >= 1024 // 64 else -0.1) + 0.001 * (at % 3) for at, value in enumerate(t)] for t in plain
    ]
    rows = [row("late:factor=4", late, 2048, plain), row("window", plain, None, plain)]
    reads = found(tmp_path, rows=rows)["late:factor=4"].reads
    assert reads is not None
    assert dict(reads.answers) == {1024: "yes", 2048: "no"}
    assert reads.at_least == reads.at_most == 1024


def test_passkeys_have_the_interval_of_scipy(tmp_path: Path) -> None:
    one = found(tmp_path)["none"]
    assert one.found is not None
    for length, right in ((512, 20), (1024, 2)):
        low, high = stats.binomtest(right, 20).proportion_ci(method="wilson")
        assert (one.found[length].low, one.found[length].high) == pytest.approx((low, high), abs=1e-4)
        assert one.found[length].count == 20


@pytest.mark.parametrize(("samples", "sure"), [(10, 0), (17, 0), (18, 1024), (50, 1024)])
def test_ninety_percent_is_sure_from_thirty_five_right_answers_on(tmp_path: Path, samples: int, sure: int) -> None:
    passkey = {"good:factor=4": keys({512: samples, 1024: samples}, samples)}
    finds = found(tmp_path, passkey=passkey)["good:factor=4"].finds
    assert finds is not None
    assert (finds.at_least, finds.at_most) == (sure, 1024)


def test_a_length_that_fails_ends_what_lies_beyond_it(tmp_path: Path) -> None:
    passkey = {"none": keys({512: 50, 1024: 0, 2048: 50}, 50)}
    finds = found(tmp_path, passkey=passkey)["none"].finds
    assert finds is not None
    assert finds.at_least == finds.at_most == 512


def test_without_the_window_nothing_is_compared(tmp_path: Path) -> None:
    rows = [one for one in record()["rows"] if one["scheme"] != "window"]
    good = found(tmp_path, rows=rows)["good:factor=4"]
    assert (good.past, good.beats, good.reads) == (None, None, None)
    assert good.tax is not None
    assert good.tax.low is not None  # `none` was run


def test_few_blocks_are_no_evidence(tmp_path: Path) -> None:
    rows = record()["rows"]
    for one in rows:
        one["block_nll"] = [text[: 576 // 64] for text in one["block_nll"][:1]]
        one["bins"] = [*one["bins"][:2], {**one["bins"][2], "stop": 576}]
    good = found(tmp_path, rows=rows)["good:factor=4"]
    assert (good.past, good.beats, good.reads) == (None, None, None)


def test_a_point_of_the_curve_has_the_t_interval_of_its_blocks(tmp_path: Path) -> None:
    whole = read(tmp_path, rows=[row("window", base(texts=20), None, base(texts=20))])
    points = curve(whole, whole.rows[0])
    assert [(one.start, one.stop) for one in points] == [(at, at + 64) for at in range(0, 2048, 64)]
    values = np.array(base(texts=20))[:, 3]
    low, high = stats.t.interval(0.95, 19, values.mean(), values.std(ddof=1) / math.sqrt(20))
    assert (points[3].mean, points[3].low, points[3].high) == pytest.approx((values.mean(), low, high))


@pytest.mark.parametrize("texts", [1, 2, 3, 7, 16])
def test_points_cover_all_blocks_once_and_none_lies_across_the_trained_length(tmp_path: Path, texts: int) -> None:
    blocks = base(texts)
    whole = read(tmp_path, rows=[row("window", blocks, None, blocks)])
    points = curve(whole, whole.rows[0])
    assert [one.start for one in points] == [0, *(one.stop for one in points[:-1])]
    assert points[-1].stop == EDGES[-1]
    assert any(one.stop == 512 for one in points)
    assert len(points) <= 42


def test_the_difference_curve_is_the_shift(tmp_path: Path) -> None:
    plain = base()
    rows = [row("x:factor=4", shifted(plain, 0.02, 0.3, noise=0), 2048, plain), row("window", plain, None, plain)]
    whole = read(tmp_path, rows=rows)
    points = curve(whole, whole.rows[0], minus=whole.rows[1])
    assert {round(one.mean, 9) for one in points if one.stop <= 512} == {0.02}
    assert {round(one.mean, 9) for one in points if one.start >= 512} == {0.3}
