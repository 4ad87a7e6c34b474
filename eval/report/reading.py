"""JSON values asked for by name and kind; what is missing or of another kind is named with its place."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

_MOST = 2**53  # beyond it counts are no floats any more
REMEDY = "run `rope-scaling eval` again, or restore the file"


class Part:
    """An object within a file, and where it stands there.

    Args:
        value: of any kind.
        file: its name.
        place: within the file.
        remedy: what to do where something in it is broken.
    """

    def __init__(self, value: Any, file: str, place: str = "", remedy: str = REMEDY) -> None:
        self.file, self.place, self.remedy = file, place, remedy
        if not isinstance(value, dict):
            raise self.broken("is no object")
        self.value: Mapping[str, Any] = value

    def broken(self, what: str) -> ValueError:
        """Return the error that says where and what."""
        return ValueError(f"{self.file} is a broken record: {self.place or 'it'} {what}; {self.remedy}")

    def __contains__(self, key: str) -> bool:
        return key in self.value

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        return iter(self.value.items())

    def empty(self, key: str) -> bool:
        """Whether the value is null."""
        return self._get(key) is None

    def text(self, key: str) -> str:
        """Return a string."""
        return self._string(self._get(key), key)

    def texts(self) -> dict[str, str]:
        """Return all values, strings and numbers, as strings."""
        return {key: self._scalar(value, key) for key, value in self}

    def strings(self, key: str, *, some: bool = True) -> list[str]:
        """Return a list of strings; `some` of them: at least one."""
        return [self._string(one, key) for one in self._list(key, some)]

    def lists_of_strings(self, key: str) -> list[list[str]]:
        """Return a list of lists of strings, at least one each."""
        rows = self._list(key)
        if not all(isinstance(row, list) and row for row in rows):
            raise self.broken(f"has {key!r} that is no list of lists")
        return [[self._string(one, key) for one in row] for row in rows]

    def flag(self, key: str) -> bool:
        """Return true or false."""
        value = self._get(key)
        if not isinstance(value, bool):
            raise self.broken(f"has {key!r} = {value!r:.40}, which is neither true nor false")
        return value

    def number(self, key: str) -> float:
        """Return a finite number."""
        return self._number(self._get(key), key)

    def share(self, key: str) -> float:
        """Return a number from 0 to 1."""
        value = self.number(key)
        if not 0 <= value <= 1:
            raise self.broken(f"has {key!r} = {value:g}, which is not from 0 to 1")
        return value

    def count(self, key: str, least: int = 0) -> int:
        """Return a whole number that is not below `least`."""
        value = self._get(key)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= _MOST:
            raise self.broken(f"has {key!r} = {value!r:.40}, which is no count from {least} up")
        return value

    def part(self, key: str) -> Part:
        """Return an object."""
        return self._of(self._get(key), self._inside(key))

    def parts(self, key: str, *, some: bool = True) -> list[Part]:
        """Return a list of objects; `some` of them: at least one."""
        found = self._list(key, some)
        return [self._of(one, f"{self._inside(key)}[{number}]") for number, one in enumerate(found)]

    def items(self, key: str) -> list[Any]:
        """Return a list of anything, at least one."""
        return self._list(key)

    def named(self) -> list[tuple[str, Part]]:
        """Return objects by name, at least one."""
        if not self.value:
            raise self.broken("is empty")
        return [(key, self._of(value, self._inside(key))) for key, value in self]

    def table(self, key: str, most: float) -> list[tuple[float, ...]]:
        """Return a list of lists of numbers whose size is at most `most`."""
        rows = self._list(key)
        if not all(isinstance(row, list) and row for row in rows):
            raise self.broken(f"has {key!r} that is no list of lists")
        return [self._numbers(row, key, most) for row in rows]

    def numbers(self, key: str, most: float) -> tuple[float, ...]:
        """Return numbers whose size is at most `most`, at least one."""
        return self._numbers(self._list(key), key, most)

    def _numbers(self, values: list[Any], key: str, most: float) -> tuple[float, ...]:
        found = tuple(self._number(one, key) for one in values)
        if max(abs(one) for one in found) > most:
            raise self.broken(f"has numbers in {key!r} beyond {most:g}, which nothing can have scored")
        return found

    def _get(self, key: str) -> Any:
        if key not in self.value:
            raise self.broken(f"has no {key!r}")
        return self.value[key]

    def _list(self, key: str, some: bool = True) -> list[Any]:
        value = self._get(key)
        if not isinstance(value, list) or (some and not value):
            raise self.broken(f"has {key!r} that is no list" + (" of at least one" if some else ""))
        return value

    def _string(self, value: Any, key: str) -> str:
        if not isinstance(value, str):
            raise self.broken(f"has {key!r} = {value!r:.40}, which is no text")
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")  # half a character is no text

    def _scalar(self, value: Any, key: str) -> str:
        return value if isinstance(value, str) else f"{self._number(value, key):.15g}"

    def _number(self, value: Any, key: str) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self.broken(f"has {key!r} = {value!r:.40}, which is no number")
        try:
            finite = math.isfinite(value)
        except OverflowError:  # an integer beyond all floats
            finite = False
        if not finite:
            raise self.broken(f"has {key!r} = {str(value)[:40]}, which is no finite number")
        return float(value)

    def _of(self, value: Any, place: str) -> Part:
        return Part(value, self.file, place, self.remedy)

    def _inside(self, key: str) -> str:
        return f"{self.place}.{key}" if self.place else key
