import math
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from rope_scaling.eval import images
from rope_scaling.eval.curves import curve_style
from rope_scaling.eval.figures import (
    Study,
    beyond,
    distance_windows,
    load_study,
    mean_kernel,
    reach,
    read_study,
    wavelengths,
)
from rope_scaling.eval.images import PlotJob, page, run_plot, without_chance, write_figure
from rope_scaling.eval.plots import PICTURES, draw
from rope_scaling.rope import ScaledRope
from rope_scaling.schemes import SCHEMES
from tests.models import TRAINED, tiny_config

SCHEMES_AT_4 = ("linear:factor=4", "ntk:factor=4", "yarn:factor=4", "llama3:factor=4")
PLAIN = read_study("tiny", tiny_config(), SCHEMES_AT_4)


def curve(study: Study, name: str) -> Any:
    return next(one for one in study.curves if one.name.startswith(name))


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    folder = tmp_path / "secret-place" / "tiny-llama"
    tiny_config().save_pretrained(folder)  # no weights: none are needed
    return folder


def test_wavelengths_are_tokens_per_turn() -> None:
    assert wavelengths((1.0, math.pi, 0.0)) == pytest.approx((2 * math.pi, 2.0, math.inf))


def test_linear_makes_every_wavelength_factor_times_the_trained() -> None:
    trained = wavelengths(PLAIN.rope.inv_freq)
    linear = wavelengths(curve(PLAIN, "linear").scaled.inv_freq)
    assert linear == pytest.approx([4 * value for value in trained], rel=1e-12)


def test_the_kernel_at_distance_0_is_the_attention_factor_squared() -> None:
    assert mean_kernel(PLAIN.unscaled.scaled, 0) == 1
    factor = 0.1 * math.log(4) + 1  # arXiv 2309.00071v2, eq. 22
    assert mean_kernel(curve(PLAIN, "yarn").scaled, 0) == pytest.approx(factor**2, rel=1e-12)


def test_the_kernel_is_the_mean_cosine() -> None:
    rope = ScaledRope((1.0, 0.25), 2.0)
    assert mean_kernel(rope, 3) == pytest.approx(4 * (math.cos(3) + math.cos(0.75)) / 2, rel=1e-12)


@pytest.mark.parametrize(("start", "stop"), [(1, 2), (0, 7), (1000, 1414), (90_000, 127_000)])
def test_the_kernel_over_a_window_is_the_mean_over_its_distances(start: int, stop: int) -> None:
    rope = ScaledRope((1.0, 0.3, 1e-3, 1e-6, 0.0), 1.1)
    each = math.fsum(mean_kernel(rope, distance) for distance in range(start, stop)) / (stop - start)
    assert mean_kernel(rope, start, stop) == pytest.approx(each, abs=1e-12)


def test_the_kernel_under_linear_is_the_trained_one_at_a_fraction_of_the_distance() -> None:
    linear = curve(PLAIN, "linear").scaled
    for distance in (4, 64, 256):
        assert mean_kernel(linear, distance) == pytest.approx(mean_kernel(PLAIN.unscaled.scaled, distance // 4))


@pytest.mark.parametrize("length", [2, 64, 1000, 32768])
def test_windows_of_distances_hold_their_distance_and_stay_within_the_length(length: int) -> None:
    windows = distance_windows(length)
    assert all(1 <= start <= distance < stop <= length + 1 for distance, start, stop in windows)
    assert [distance for distance, _, _ in windows] == sorted({distance for distance, _, _ in windows})
    assert (windows[0], windows[-1][0]) == ((1, 1, 2), length)


def test_no_pair_reaches_more_than_a_turn() -> None:
    assert reach((1.0, 2 * math.pi / 200, 0.0), 100) == pytest.approx((1.0, 0.5, 0.0))


def test_unscaled_every_pair_that_is_not_round_in_training_goes_beyond() -> None:
    trained = [f * TRAINED / (2 * math.pi) for f in PLAIN.rope.inv_freq]
    expected = [min(1, 4 * turns) - turns if turns < 1 else 0 for turns in trained]
    assert beyond(PLAIN, PLAIN.unscaled) == pytest.approx(expected)
    assert 0 < sum(turns > 0 for turns in expected) < len(expected)


def test_linear_and_yarn_go_nowhere_new_and_ntk_only_in_its_last_pair() -> None:
    assert not any(beyond(PLAIN, curve(PLAIN, "linear")))
    assert not any(beyond(PLAIN, curve(PLAIN, "yarn")))
    partial = [turns < 1 for turns in reach(PLAIN.rope.inv_freq, TRAINED)]
    new = beyond(PLAIN, curve(PLAIN, "ntk"))
    assert [turns > 0 for turns in new] == [*partial[:-1], False]
    reached = reach(curve(PLAIN, "ntk").scaled.inv_freq, 4 * TRAINED)
    assert reached[-1] == pytest.approx(reach(PLAIN.rope.inv_freq, TRAINED)[-1], rel=1e-12)


def test_each_scheme_is_read_at_its_own_length_and_the_unscaled_at_the_longest() -> None:
    study = read_study("tiny", tiny_config(), ["none", "ntk", "yarn:factor=8"])
    lengths = {one.name: one.length for one in study.curves}
    assert lengths == {"unscaled": 8 * TRAINED, "ntk": 2 * TRAINED, "yarn:factor=8": 8 * TRAINED}


@pytest.mark.parametrize(("schemes", "factor"), [([], 2), (["none"], 2), (["none:factor=8"], 8)])
def test_without_a_scheme_the_trained_rope_is_read_past_its_length(schemes: list[str], factor: int) -> None:
    study = read_study("tiny", tiny_config(), schemes)
    assert (study.schemes, study.unscaled.length) == ((), factor * TRAINED)


def test_a_layer_type_must_be_named_where_there_are_several() -> None:
    config = tiny_config("gemma3_text", layer_types=["sliding_attention", "full_attention"])
    with pytest.raises(ValueError, match=r"--layer-type .*full_attention.*, got none"):
        read_study("tiny", config, [])
    assert read_study("tiny", config, [], layer_type="full_attention").rope.theta == 1e6
    with pytest.raises(ValueError, match="leave out --layer-type, got 'full_attention'"):
        read_study("tiny", tiny_config(), [], layer_type="full_attention")


def test_schemes_that_move_positions_have_no_pictures_of_frequencies() -> None:
    with pytest.raises(ValueError, match="'dca:factor=4' leaves the frequencies as they are"):
        read_study("tiny", tiny_config(), ["ntk", "dca:factor=4"])


def test_an_already_scaled_checkpoint_is_asked_about() -> None:
    scaled = {"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0}
    config = tiny_config(rope_parameters=scaled, max_position_embeddings=2 * TRAINED)
    with pytest.raises(ValueError, match="is scaled already"):
        read_study("tiny", config, ["yarn"])
    study = read_study("tiny", config, ["yarn"], on_scaled="compose")
    assert (study.rope.inv_freq[0], study.trained_length) == (0.5, 2 * TRAINED)


def test_a_scheme_given_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="asked for twice: ntk"):
        read_study("tiny", tiny_config(), ["ntk", "yarn", "ntk"])


def test_the_name_of_a_checkpoint_is_not_where_it_lies(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_study(str(checkpoint), []).name == "tiny-llama"
    monkeypatch.chdir(checkpoint)
    assert load_study(".", []).name == "tiny-llama"


@pytest.mark.parametrize("picture", PICTURES)
def test_every_picture_shows_every_scheme_and_names_its_units(picture: str) -> None:
    text = repr(draw(PLAIN, [picture]))
    assert all(name in text for name in ("tiny", "unscaled", *SCHEMES_AT_4))
    units = {
        "wavelengths": ("wavelength (tokens per turn)", "L = 64 tokens", "4·L = 256 tokens"),
        "kernel": ("distance Δ between query and key (tokens", "mean kernel (no unit)"),
        "angles": ("largest angle (turns", "linear:factor=4 at 256 tokens: no pair turns past its trained angles"),
    }
    assert all(unit in text for unit in units[picture])


def test_no_two_curves_look_the_same_even_in_grey() -> None:
    styles = [curve_style(number) for number in range(len(SCHEMES) + 10)]
    grey = [(style["line"]["dash"], style["marker"]["symbol"]) for style in styles]
    assert len(set(grey)) == len(grey)


def test_a_name_with_markup_or_a_long_list_does_no_harm() -> None:
    divisors = f"longrope:long_factor={[1.25] * 16},factor=4".replace(" ", "")
    figure = draw(read_study("<b>&", tiny_config(), [divisors]))
    text = repr(figure)
    assert "&lt;b&gt;&amp;" in text
    assert divisors[:95] + "…" in text
    assert divisors not in text
    assert "<title>&lt;i&gt;</title>" in page(figure, "<i>")


def test_a_page_holds_all_pictures_and_loads_nothing(checkpoint: Path, tmp_path: Path) -> None:
    output = tmp_path / "new" / "out.html"
    run_plot(PlotJob(str(checkpoint), SCHEMES_AT_4, output))
    text = output.read_text(encoding="utf-8")
    assert all(title in text for title in ("Wavelength of each pair", "Decay of the mean", "Which pairs turn past"))
    tags = re.findall(
        r"<(?:script|link|img|iframe)\b[^>]*>", re.sub(r"(<script\b[^>]*>).*?</script>", r"\1", text, flags=re.S)
    )
    assert tags
    assert not [tag for tag in tags if re.search(r"\b(?:src|href)\s*=", tag)]
    assert "plotly.js v" in text
    assert "secret-place" not in text
    assert [path.name for path in output.parent.iterdir()] == ["out.html"]
    again = tmp_path / "again.html"
    run_plot(PlotJob(str(checkpoint), SCHEMES_AT_4, again))
    assert again.read_bytes() == output.read_bytes()


def test_an_existing_file_is_only_replaced_by_force(checkpoint: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.html"
    output.write_text("precious")
    with pytest.raises(ValueError, match="exists: choose another name, or pass --force"):
        run_plot(PlotJob("no such checkpoint", (), output))
    assert output.read_text() == "precious"
    run_plot(PlotJob(str(checkpoint), (), output, ("angles",), force=True))
    assert "Which pairs" in output.read_text(encoding="utf-8")


def test_an_unknown_suffix_or_picture_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"cannot write 'out.gif': end it in .html, .png, .svg"):
        PlotJob("x", (), tmp_path / "out.gif")
    with pytest.raises(ValueError, match=r"unknown picture 'angels': did you mean 'angles'"):
        run_plot(PlotJob("no such checkpoint", (), tmp_path / "out.html", ("angels",)))


def test_missing_packages_are_named_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "rope-scaling\[report\]"'):
        run_plot(PlotJob("no such checkpoint", (), tmp_path / "out.html"))
    with pytest.raises(ModuleNotFoundError, match=r"needs kaleido.*or write .html"):
        write_figure(draw(PLAIN), tmp_path / "out.png", title="")
    assert not list(tmp_path.iterdir())


def test_a_browser_that_fails_is_told_with_the_way_round_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Kaleido:
        @staticmethod
        def calc_fig_sync(*args: object, **options: object) -> bytes:
            raise RuntimeError("no browser here")

    monkeypatch.setattr(images, "find_spec", lambda name: object())
    monkeypatch.setitem(sys.modules, "kaleido", Kaleido)
    with pytest.raises(ValueError, match=r"drawn by Chrome.*RuntimeError.*write .html instead, or install Chrome"):
        write_figure(draw(PLAIN), tmp_path / "out.svg", title="")
    assert not list(tmp_path.iterdir())


def test_ids_drawn_by_lot_are_replaced() -> None:
    svg = '<defs id="defs-1a2b3c"/><clipPath id="clip1a2b3cxy"/><g clip-path="url(#clip1a2b3cxy)"/>'
    assert without_chance(svg) == svg.replace("1a2b3c", "id0")
