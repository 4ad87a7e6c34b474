"""Texts that can only be read by looking back: something is told once and asked for later, anywhere in a window."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from rope_scaling.eval.tasks.passkey.prompt import DESCRIPTION, FILLER, NEEDLE, QUESTION

IGNORE = -100
"""The label of a token that is not learned, as Transformers' losses have it."""

SHARES: Mapping[str, float] = MappingProxyType(
    {"passkey": 0.3, "fact": 0.2, "key_values": 0.15, "copy": 0.15, "repeat": 0.1, "variables": 0.1}
)
"""How often each kind comes."""

Encode = Callable[[str], list[int]]


@dataclass(frozen=True)
class Span:
    """Some tokens and what is learned of them: `labels` are the ids, or IGNORE."""

    ids: list[int]
    labels: list[int]

    def __post_init__(self) -> None:
        if len(self.ids) != len(self.labels):
            raise ValueError(f"{len(self.ids)} ids but {len(self.labels)} labels: give one for each token")

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Episode:
    """Something told, and the questions about it with their answers."""

    told: Span
    asked: tuple[Span, ...]


Maker = Callable[[random.Random, Encode, Sequence[int]], Episode]
"""Makes an episode; some take tokens of the running text for it."""


def recall_window(
    rng: random.Random,
    encode: Encode,
    filler: Span,
    size: int,
    stops: frozenset[int],
    shares: Mapping[str, float] = SHARES,
) -> Span:
    """Return a window of `size` tokens: one kind of episode laid into `filler`.

    What is told stands at every place equally often; half of the questions stand at the window's end, the
    others anywhere after what they ask for.

    Args:
        rng: decides everything.
        encode: tokenizes a piece of text, without special tokens.
        filler: at least `size` tokens of running text; only as much as is needed is taken.
        size: tokens.
        stops: ids of tokens that end a line or a sentence: text is interrupted behind one of them.
        shares: how often each of `KINDS` comes.

    Raises:
        ValueError: `size` is too small to tell and ask one thing, or `filler` is too short.
    """
    if len(filler) < size:
        raise ValueError(f"the filler has {len(filler)} tokens, a window of {size} needs as many: give a longer text")
    (kind,) = rng.choices(list(shares), list(shares.values()))
    make, most = KINDS[kind]
    tell = functools.partial(make, rng, encode, filler.ids)
    episodes = _as_many_as_fit(tell, size, rng.randint(1, most))
    if make is passkey and rng.random() < 0.5:
        filler = grass(rng, encode, size)
    room = size - sum(len(e.told) + sum(map(len, e.asked)) for e in episodes)
    return _lay(rng, episodes, Span(filler.ids[:room], filler.labels[:room]), stops)


def _as_many_as_fit(tell: Callable[[], Episode], size: int, most: int) -> list[Episode]:
    episodes: list[Episode] = []
    left = size
    for attempt in range(20):
        episode = tell()
        left -= len(episode.told) + sum(map(len, episode.asked))
        if left < 0:
            if episodes or attempt == 19:
                break
            left = size
            continue
        episodes.append(episode)
        if len(episodes) == most:
            break
    if not episodes:
        raise ValueError(f"no question fits a window of {size} tokens: ask for at least 128")
    return episodes


def _lay(rng: random.Random, episodes: Sequence[Episode], filler: Span, stops: frozenset[int]) -> Span:
    """Cut the filler where something is told or asked."""
    room = len(filler)
    places: list[tuple[int, int, Span]] = []
    for number, episode in enumerate(episodes):
        told = _after_a_stop(filler.ids, rng.randint(0, room), stops)
        places.append((told, number, episode.told))
        at_end = rng.random() < 0.5
        for question in episode.asked:
            asked = room if at_end else _after_a_stop(filler.ids, rng.randint(told, room), stops)
            # at one place: first all that is told, then all that is asked
            places.append((asked, len(episodes) + number, question))
    places.sort(key=lambda place: place[:2])
    ids: list[int] = []
    labels: list[int] = []
    start = 0
    for place, _, span in places:
        ids += filler.ids[start:place] + span.ids
        labels += filler.labels[start:place] + span.labels
        start = place
    return Span(ids + filler.ids[start:], labels + filler.labels[start:])


def _after_a_stop(ids: Sequence[int], place: int, stops: frozenset[int]) -> int:
    """Return the next place from `place` on that follows a stop, or the end."""
    return next((at for at in range(place, len(ids)) if at == 0 or ids[at - 1] in stops), len(ids))


def said(encode: Encode, text: str) -> Span:
    """Tokens of `text`, none of which is learned."""
    ids = encode(text)
    return Span(ids, [IGNORE] * len(ids))


def asked(encode: Encode, question: str, answer: str) -> Span:
    """Tokens of both, of which the answer's alone are learned."""
    before, after = encode(question), encode(answer)
    return Span(before + after, [IGNORE] * len(before) + after)


def grass(rng: random.Random, encode: Encode, size: int) -> Span:
    """Return `size` tokens of the passkey task's own filler, from any of its sentences on."""
    first = rng.randrange(len(FILLER))
    cycle = encode(" " + " ".join([*FILLER[first:], *FILLER[:first]]))
    return Span((cycle * (size // len(cycle) + 1))[:size], [IGNORE] * size)


def passkey(rng: random.Random, encode: Encode, running: Sequence[int]) -> Episode:
    """One number, in the passkey task's wording every other time."""
    key = _number(rng)
    if rng.random() < 0.5:
        told, question = NEEDLE, QUESTION
    else:
        told, question = rng.choice(_NEEDLES), rng.choice(_QUESTIONS)
    opening = DESCRIPTION + "\n" if rng.random() < 0.3 else ""
    return Episode(
        said(encode, f"\n{opening}{told.format(key=key)}\n"),
        (asked(encode, f"\n{question}", f" {key}."),),
    )


def fact(rng: random.Random, encode: Encode, running: Sequence[int]) -> Episode:
    """One of several facts about different people; each is asked for by what it is and whose."""
    what, who, key = rng.choice(_THINGS), _name(rng), _number(rng)
    told = f"\nThe {what} of {who} is {key}.\n"
    question = f"\nWhat is the {what} of {who}? The {what} of {who} is"
    return Episode(said(encode, told), (asked(encode, question, f" {key}."),))


def key_values(rng: random.Random, encode: Encode, running: Sequence[int]) -> Episode:
    """Return a list of names and numbers; some of them are looked up."""
    pairs = {_name(rng): _number(rng) for _ in range(rng.randint(4, 12))}
    told = "\n" + "\n".join(f"{name}: {number}" for name, number in pairs.items()) + "\n"
    wanted = rng.sample(sorted(pairs), rng.randint(2, len(pairs)))
    return Episode(
        said(encode, told), tuple(asked(encode, f"\nLook up {name}:", f" {pairs[name]}\n") for name in wanted)
    )


def copy(rng: random.Random, encode: Encode, running: Sequence[int]) -> Episode:
    """Return names and numbers that are said again word for word."""
    words = [_name(rng) if rng.random() < 0.7 else _number(rng) for _ in range(rng.randint(4, 24))]
    text = " ".join(words)
    return Episode(said(encode, f"\nSay after me: {text}\n"), (asked(encode, "\nAgain:", f" {text}\n"),))


def repeat(rng: random.Random, encode: Encode, running: Sequence[int]) -> Episode:
    """Return shuffled tokens of the running text, again and again: what induction heads learn fastest from."""
    ids = rng.sample(list(running), rng.randint(8, max(len(running) // 3, 8)))
    again = Span(ids, [IGNORE, *ids[1:]])  # the first token follows from nothing
    return Episode(Span(ids, [IGNORE] * len(ids)), (again,) * rng.randint(1, 3))


def variables(rng: random.Random, encode: Encode, running: Sequence[int]) -> Episode:
    """Return a chain of assignments; the value of any of them is asked for (RULER's variable tracking, 2404.06654)."""
    names = [_name(rng) for _ in range(rng.randint(1, 3))]
    number = _number(rng)
    values = [number, *names]
    lines = [f"Let {name} be {value}." for name, value in zip(names, values, strict=False)]
    question = f"\nThe value of {rng.choice(names)} is"
    return Episode(said(encode, "\n" + "\n".join(lines) + "\n"), (asked(encode, question, f" {number}."),))


KINDS: Mapping[str, tuple[Maker, int]] = MappingProxyType(
    {
        "passkey": (passkey, 1),
        "fact": (fact, 12),
        "key_values": (key_values, 3),
        "copy": (copy, 6),
        "repeat": (repeat, 4),
        "variables": (variables, 8),
    }
)
"""What makes an episode, and the most of them in one window."""

_NEEDLES = (
    "The pass key is {key}. Do not forget it.",
    "Remember this: the pass key is {key}.",
    "The secret number is {key}. Keep it in mind: {key}.",
    "Mark this well, the number is {key}.",
    "The key to the gate is {key}. {key} is the key.",
    "One of the special magic numbers is: {key}.",
)
_QUESTIONS = (
    "What is the number? The number is",
    "What was the pass key? It is",
    "Tell me the pass key. The pass key is",
    "What is the secret? The secret number is",
    "What is the special magic number? It is",
)
_THINGS = (
    "pass key",
    "secret number",
    "magic number",
    "age",
    "house number",
    "fortune",
    "ransom",
    "lucky number",
    "code",
    "debt",
)
_SYLLABLES = tuple(f"{consonant}{vowel}" for consonant in "bdfgklmnprstvz" for vowel in "aeiou")


def _number(rng: random.Random) -> str:
    digits = rng.choice((3, 4, 5, 5, 5, 6))
    return str(rng.randrange(10 ** (digits - 1), 10**digits))


def _name(rng: random.Random) -> str:
    return "".join(rng.choices(_SYLLABLES, k=rng.randint(2, 3))).capitalize()
