from __future__ import annotations

import random
from pathlib import Path

import pytest

from rope_scaling.eval.tasks.common.haystack import Haystack, noise, running_text

LETTERS = Haystack(lambda number: "abcdefghij"[number] + ".")


def test_a_needle_stands_behind_its_share_of_the_pieces() -> None:
    assert LETTERS.lay(4, [(0.5, "X")], "") == "a. b. X c. d."
    assert LETTERS.lay(4, [(0.0, "X")], "") == "X a. b. c. d."
    assert LETTERS.lay(4, [(1.0, "X")], "") == "a. b. c. d. X"


def test_needles_of_one_place_keep_their_order() -> None:
    assert LETTERS.lay(2, [(0.5, "X"), (0.5, "Y"), (0.0, "Z")], "") == "Z a. X Y b."


def test_padding_follows_the_last_piece_or_stands_alone() -> None:
    assert LETTERS.lay(2, [(1.0, "X")], " so") == "a. b. so X"
    assert LETTERS.lay(0, [(0.3, "X")], " so") in ("so X", "X so")


def test_a_needle_never_cuts_a_sentence_of_running_text(tmp_path: Path) -> None:
    file = tmp_path / "text.txt"
    file.write_text("One two three. Four five! Six seven eight nine? Ten.")
    for seed in range(8):
        text = running_text(str(file), random.Random(seed))
        for depth in (0.0, 0.2, 0.4, 0.6, 0.8):
            before = text.lay(9, [(depth, "X")], "").split("X")[0].strip()
            assert before == "" or before[-1] in ".!?"


def test_running_text_begins_with_a_sentence_and_begins_again_after_its_end(tmp_path: Path) -> None:
    file = tmp_path / "text.txt"
    file.write_text("One two. Three four.")
    starts = {running_text(str(file), random.Random(seed)).lay(5, [], "") for seed in range(20)}
    assert starts == {"One two. Three four. One", "Three four. One two. Three"}


def test_noise_goes_on_without_end() -> None:
    assert noise().lay(6, [], "").endswith("There and back again. The grass is green.")


@pytest.mark.parametrize(("content", "told"), [(None, "readable UTF-8 file"), (b"\xff\xfe", "UTF-8"), (b" \n", "none")])
def test_a_text_that_cannot_be_read_is_told(tmp_path: Path, content: bytes | None, told: str) -> None:
    file = tmp_path / "text.txt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ValueError, match=told):
        running_text(str(file), random.Random(0))
