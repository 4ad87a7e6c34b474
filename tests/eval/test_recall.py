import random
import re
from collections.abc import Mapping
from types import MappingProxyType

import pytest

from rope_scaling.eval import recall
from rope_scaling.eval.recall import IGNORE, KINDS, SHARES, Maker, Span, recall_window

FILLER = 1  # a token of its own, so that what is told and asked can be told from it
STOPS = frozenset({FILLER})


def encode(text: str) -> list[int]:
    """A token a character."""
    return [ord(letter) for letter in text]


def decode(ids: list[int]) -> str:
    return "".join(map(chr, ids))


def filler(size: int = 900) -> Span:
    return Span([FILLER] * size, [FILLER] * size)


def window(seed: int, size: int = 900, shares: Mapping[str, float] = SHARES) -> Span:
    return recall_window(random.Random(seed), encode, filler(size), size, STOPS, shares)


def only(monkeypatch: pytest.MonkeyPatch, kind: str, most: int = 1) -> dict[str, float]:
    """The shares for windows of this kind alone, with at most so many episodes."""
    monkeypatch.setattr(recall, "KINDS", MappingProxyType({kind: (KINDS[kind][0], most)}))
    return {kind: 1.0}


@pytest.mark.parametrize("seed", range(30))
def test_a_window_has_the_size_asked_for_and_learns_nothing_but_answers_and_filler(seed: int) -> None:
    got = window(seed, shares={kind: 1.0 for kind in KINDS if kind != "repeat"})
    assert len(got) == 900
    assert all(label in (IGNORE, token) for token, label in zip(got.ids, got.labels, strict=True))
    answers = [label for label in got.labels if label not in (IGNORE, FILLER)]
    assert answers


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("maker", [maker for kind, (maker, _) in KINDS.items() if kind != "repeat"])
def test_every_answer_was_told_before(maker: Maker, seed: int) -> None:
    episode = maker(random.Random(seed), encode, encode("running text"))
    told = decode(episode.told.ids)
    assert set(episode.told.labels) == {IGNORE}
    for question in episode.asked:
        answer = decode([label for label in question.labels if label != IGNORE])
        assert answer.strip(" .\n") in told
        assert decode(question.ids).endswith(answer)
        assert answer.strip(" .\n") not in decode(question.ids)[: -len(answer)]


@pytest.mark.parametrize("seed", range(10))
def test_shuffled_text_is_repeated_and_learned_from_its_second_token_on(seed: int) -> None:
    running = encode("abcdefghijklmnopqrstuvwxyz" * 8)
    episode = KINDS["repeat"][0](random.Random(seed), encode, running)
    assert set(episode.told.labels) == {IGNORE}
    assert set(episode.told.ids) <= set(running)
    for again in episode.asked:
        assert again.ids == episode.told.ids
        assert again.labels == [IGNORE, *again.ids[1:]]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "repeat"])
def test_nothing_is_asked_before_it_was_told(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shares = only(monkeypatch, kind, most=4)
    for seed in range(40):
        got = window(seed, shares=shares)
        text, at = decode(got.ids), 0
        while at < len(text):
            if got.labels[at] in (IGNORE, FILLER):
                at += 1
                continue
            stop = next((i for i in range(at, len(text)) if got.labels[i] in (IGNORE, FILLER)), len(text))
            assert text[at:stop].strip(" .\n") in text[:at].replace(chr(FILLER), "")
            at = stop


def test_what_is_told_stands_everywhere_equally_often(monkeypatch: pytest.MonkeyPatch) -> None:
    shares = only(monkeypatch, "fact")
    places, at_end = [], 0
    for seed in range(600):
        got = window(seed, shares=shares)
        shown = [number for number, token in enumerate(got.ids) if token != FILLER]
        told, room = shown[0], got.ids.count(FILLER)
        places.append(told / room)
        at_end += got.ids[-1] != FILLER
    counts = [sum(part / 6 <= place < (part + 1) / 6 for place in places) for part in range(6)]
    assert sum((count - 100) ** 2 / 100 for count in counts) < 20.5  # chi-squared, 5 degrees of freedom, p = 0.001
    assert 250 < at_end < 380  # every other question, and now and then one of the others


def test_a_passkey_stands_in_running_text_or_in_the_task_s_own_filler(monkeypatch: pytest.MonkeyPatch) -> None:
    shares = only(monkeypatch, "passkey")
    windows = [window(seed, shares=shares) for seed in range(60)]
    running = [got for got in windows if FILLER in got.ids]
    grass = [got for got in windows if "The grass is green." in decode(got.ids)]
    assert len(running) + len(grass) == 60
    assert min(len(running), len(grass)) > 15
    learned = [label for got in grass for label in got.labels if label != IGNORE]
    assert re.fullmatch(r"( \d+\.)+", decode(learned))  # of the task's filler nothing is learned


def test_text_is_interrupted_behind_a_stop_only(monkeypatch: pytest.MonkeyPatch) -> None:
    shares = only(monkeypatch, "fact", most=3)
    text = encode("abcd." * 180)
    for seed in range(40):
        got = recall_window(random.Random(seed), encode, Span(text, text), 900, frozenset({ord(".")}), shares)
        kept = [part for part in re.split(r"\n(?:The|What).*?\d+\.|\n", decode(got.ids)) if part]
        # the last one ends where the window has no more room
        assert [part for part in kept[:-1] if not part.endswith(".")] == []


def test_the_same_seed_makes_the_same_window() -> None:
    assert window(7) == window(7)
    assert window(7) != window(8)


def test_bad_windows_are_refused() -> None:
    with pytest.raises(ValueError, match="the filler has 10 tokens, a window of 900 needs as many"):
        recall_window(random.Random(0), encode, filler(10), 900, STOPS)
    with pytest.raises(ValueError, match="no question fits a window of 12 tokens"):
        recall_window(random.Random(0), encode, filler(12), 12, STOPS)
    with pytest.raises(ValueError, match="2 ids but 1 labels"):
        Span([1, 2], [1])
