"""PNG and SVG, which kaleido draws with Chrome or Chromium."""

import re
import struct
from pathlib import Path

import pytest

from rope_scaling.eval.images import PlotJob, run_plot
from rope_scaling.eval.plots import PICTURES
from tests.models import tiny_config

pytestmark = pytest.mark.slow
SCHEMES = ("linear:factor=4", "ntk:factor=4", "yarn:factor=4")


@pytest.fixture
def checkpoint(tmp_path: Path) -> str:
    folder = tmp_path / "secret-place" / "tiny-llama"
    tiny_config().save_pretrained(folder)
    return str(folder)


def test_a_png_has_twice_the_pixels_of_the_page(checkpoint: str, tmp_path: Path) -> None:
    output = tmp_path / "out.png"
    run_plot(PlotJob(checkpoint, SCHEMES, output, ("wavelengths",)))
    content = output.read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">I", content[16:20]) == (1600,)


@pytest.mark.parametrize("picture", PICTURES)
def test_an_svg_is_the_same_each_time_small_and_without_paths(checkpoint: str, tmp_path: Path, picture: str) -> None:
    first, second = tmp_path / "first.svg", tmp_path / "second.svg"
    for output in (first, second):
        run_plot(PlotJob(checkpoint, SCHEMES, output, (picture,)))
    text = first.read_text(encoding="utf-8")
    assert first.read_bytes() == second.read_bytes()
    assert len(text) < 150_000
    assert "tiny-llama" in text
    assert not re.search(r"secret-place|file:|20\d\d-\d\d", text)
    assert set(re.findall(r"https?://[^\"' )]+", text)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }
