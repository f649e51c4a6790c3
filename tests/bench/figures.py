"""Figures that a benchmark wrote, asked for by their place; one that is not there is told, never guessed."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Place = tuple[str | int, ...]


class MissingFigureError(ValueError):
    """A figure is not there, or is no such thing; the message is one sentence."""


@dataclass(frozen=True)
class Figures:
    """A part of one benchmark's JSON.

    Attributes
    ----------
    bench : str
        Whose.
    value : object
        What JSON holds here.
    place : tuple
        Keys and numbers from the root to here.
    """

    bench: str
    value: Any
    place: Place = ()

    @classmethod
    def read(cls, bench: str, path: Path) -> Figures:
        """Read a file; raises MissingFigureError."""
        try:
            return cls(bench, json.loads(path.read_text("utf-8")))
        except (OSError, ValueError) as error:
            raise MissingFigureError(f"{path.name} cannot be read: {type(error).__name__}.") from error

    def at(self, *keys: str | int) -> Figures:
        """What lies under `keys`."""
        value, place = self.value, self.place
        for key in keys:
            place = (*place, key)
            try:
                value = value[key]
            except (LookupError, TypeError):
                raise MissingFigureError(f"{self.bench} has no figure {_name(place)}.") from None
        return Figures(self.bench, value, place)

    def has(self, key: str) -> bool:
        return isinstance(self.value, dict) and key in self.value

    def number(self, *keys: str | int) -> float:
        """A finite number."""
        found = self.at(*keys)
        value = found.value
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise MissingFigureError(f"{self.bench} has no number at {_name(found.place)}.")
        return float(value)

    def flag(self, *keys: str | int) -> bool:
        found = self.at(*keys)
        if not isinstance(found.value, bool):
            raise MissingFigureError(f"{self.bench} does not say yes or no at {_name(found.place)}.")
        return found.value

    def text(self, *keys: str | int) -> str:
        found = self.at(*keys)
        if not isinstance(found.value, str):
            raise MissingFigureError(f"{self.bench} has no text at {_name(found.place)}.")
        return found.value

    def items(self, *keys: str | int) -> Iterator[tuple[str, Figures]]:
        """Name and figures of each entry; at least one."""
        found = self.at(*keys)
        if not isinstance(found.value, dict) or not found.value:
            raise MissingFigureError(f"{self.bench} has nothing at {_name(found.place)}.")
        return ((name, found.at(name)) for name in found.value)

    def rows(self, *keys: str | int) -> list[Figures]:
        """The figures of each element of a list; at least one."""
        found = self.at(*keys)
        if not isinstance(found.value, list) or not found.value:
            raise MissingFigureError(f"{self.bench} has no rows at {_name(found.place)}.")
        return [found.at(number) for number in range(len(found.value))]


def _name(place: Place) -> str:
    return "/".join(map(str, place)) or "its root"
