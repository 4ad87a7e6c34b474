from pathlib import Path
from typing import Any

from rope_scaling.eval.report.findings import findings
from rope_scaling.eval.report.numerals import percent, signed
from rope_scaling.eval.report.record import read_record
from rope_scaling.eval.report.words import Verdict, verdict
from tests.eval.report.records import base, keys, record, row, shifted, written


def told(folder: Path, **changes: Any) -> dict[str, Verdict]:
    whole = read_record(written(folder, record(**changes)))
    return {one.scheme: verdict(whole, one) for one in findings(whole)}


def test_a_scheme_that_beats_cutting_says_how_far_what_and_by_how_much(tmp_path: Path) -> None:
    one = told(tmp_path)["good:factor=4"]
    assert one.sentence.startswith(
        "sees to 1k as far as 20 questions can tell (20 of 20 passkeys found there); costs 2.9% perplexity on texts "
        "within 512 (95% +"
    )
    assert "; beats cutting the text to its last 512 tokens (−0.05" in one.sentence
    assert (one.sees, one.costs, one.beats) == ("1k, undecided", "+2.9%", "yes")


def test_the_unpatched_model_is_told_to_fail_and_to_cost_nothing(tmp_path: Path) -> None:
    one = told(tmp_path, passkey={"none": keys({512: 40, 1024: 4}, 40)})["none"]
    assert one.sentence.startswith(
        "sees to 512 (80 of 80 passkeys found there), but not to 1k (8 of 80); does not beat"
    )
    assert "costs" not in one.sentence
    assert (one.sees, one.costs, one.beats) == ("512", "nothing (unpatched)", "no")


def test_equal_scores_are_called_so_and_the_rest_undecided(tmp_path: Path) -> None:
    one = told(tmp_path)["same:factor=2"]
    assert "costs nothing on texts within 512 (equal scores)" in one.sentence
    assert "whether it beats simply cutting the text to its last 512 tokens is undecided (0.000 nats" in one.sentence


def test_a_tax_that_may_be_none_is_not_called_one(tmp_path: Path) -> None:
    plain = base()
    rows = [row("x:factor=4", shifted(plain, 0.0, 0.0, noise=0.05), 2048, plain), row("window", plain, None, plain)]
    assert "costs nothing that shows on texts within 512" in told(tmp_path, rows=rows)["x:factor=4"].sentence


def test_a_gain_on_short_texts_is_no_cost(tmp_path: Path) -> None:
    plain = base()
    rows = [row("x:factor=4", shifted(plain, -0.1, 0.0), 2048, plain), row("window", plain, None, plain)]
    assert "improves perplexity on texts within 512 by 9." in told(tmp_path, rows=rows)["x:factor=4"].sentence


def test_keys_lost_from_the_start(tmp_path: Path) -> None:
    one = told(tmp_path, passkey={"none": keys({512: 0, 1024: 0})})["none"]
    assert one.sentence.startswith("loses passkeys already at 512 (0 of 20 found); ")
    assert one.sees == "not to 512"


def test_without_passkeys_the_reading_tells_how_far(tmp_path: Path) -> None:
    value = {key: one for key, one in record().items() if key != "passkey"}
    whole = read_record(written(tmp_path, value))
    sentences = {one.scheme: verdict(whole, one).sentence for one in findings(whole)}
    assert sentences["none"].startswith("predicts worse than cutting the text as soon as it is past 512;")
    assert sentences["good:factor=4"].startswith("predicts no worse than cutting the text up to 2k;")


def test_what_was_not_measured_says_what_would_measure_it(tmp_path: Path) -> None:
    rows = [one for one in record()["rows"] if one["scheme"] != "window"]
    assert "was not measured (`window` was not run)" in told(tmp_path, rows=rows)["good:factor=4"].sentence
    short = record()["rows"]
    for one in short:
        one["bins"], one["block_nll"] = one["bins"][:2], [text[: 512 // 64] for text in one["block_nll"]]
    assert "(no token past 512 was scored: longer --lengths)" in told(tmp_path, rows=short)["bad:factor=4"].sentence
    value = {key: one for key, one in record().items() if key not in ("text", "window", "block", "rows")}
    whole = read_record(written(tmp_path, value))
    assert "(no text was scored: --text and --lengths)" in verdict(whole, findings(whole)[0]).sentence


def test_a_scheme_beyond_its_length_and_lost_beginnings_are_noted(tmp_path: Path) -> None:
    lost = keys({512: 10}) | {"truncated_requests": {"generate_until": 3}}
    verdicts = told(tmp_path, passkey={"none": lost})
    assert verdicts["same:factor=2"].notes == ("Made for 1k tokens, measured to 2k.",)
    assert "3 passkey questions were longer" in verdicts["none"].notes[0]


def test_numbers_carry_a_true_minus_and_zero_no_sign() -> None:
    assert [signed(value, 3) for value in (0.0004, -0.0004, 0.5, -0.5)] == ["0.000", "0.000", "+0.500", "−0.500"]
    assert [percent(value) for value in (0.046, 3.97, -0.02, 0)] == ["+4.6%", "+397%", "−2.0%", "0.0%"]
