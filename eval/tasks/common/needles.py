"""Random words, numbers, UUIDs and names: what is told in a prompt and asked for."""

from __future__ import annotations

import functools
import random
import string
import uuid
from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType

from wonderwords import RandomWord

LONGEST_WORD = 8  # letters; ten words of them fit the room of rope_cwe where a letter is a token


@functools.cache
def words(category: str) -> tuple[str, ...]:
    """Return the "noun"s, "adjective"s or "verb"s of 3 to `LONGEST_WORD` plain letters, in order."""
    found = RandomWord().filter(include_categories=[category])
    plain = {word for word in found if word.isascii() and word.isalpha() and word.islower()}
    return tuple(sorted(word for word in plain if 3 <= len(word) <= LONGEST_WORD))


def number(rng: random.Random) -> str:
    """Return five digits."""
    return str(rng.randint(10_000, 99_999))


def key(rng: random.Random) -> str:
    """Return an adjective and a noun, RULER's kind of key."""
    return f"{rng.choice(words('adjective'))}-{rng.choice(words('noun'))}"


def identifier(rng: random.Random) -> str:
    """Return a UUID of version 4."""
    return str(uuid.UUID(int=rng.getrandbits(128), version=4))


def variable(rng: random.Random) -> str:
    """Return five capital letters."""
    return "".join(rng.choices(string.ascii_uppercase, k=5))


def code_word(rng: random.Random) -> str:
    """Return six letters that are no word."""
    return "".join(rng.choices(string.ascii_lowercase, k=6))


KINDS: Mapping[str, Callable[[random.Random], str]] = MappingProxyType(
    {"number": number, "word": key, "uuid": identifier}
)
"""What a needle may hold."""


def distinct(
    make: Callable[[random.Random], str], rng: random.Random, count: int, taken: Collection[str] = ()
) -> list[str]:
    """Return `count` different ones, none of them taken."""
    made: dict[str, None] = {}
    seen = set(taken)
    while len(made) < count:
        one = make(rng)
        if one not in seen:
            seen.add(one)
            made[one] = None
    return list(made)
