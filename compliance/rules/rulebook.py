"""A YAML file to a Rulebook, or to problems that name file, line and field, one sentence each."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Final, TypeVar

from compliance.rules import yaml_source as source
from compliance.rules.phrase import PhraseError, read_phrase
from compliance.rules.rule import (
    AllOf,
    AnyOf,
    Condition,
    Count,
    Example,
    Near,
    Not,
    RequiredBy,
    Rule,
    Rulebook,
    Said,
    SpokenBy,
    Turn,
    Within,
)
from compliance.rules.yaml_source import Problem, RulebookError, read_yaml
from events.finding import Severity
from events.identity import Role

SHIPPED: Final = Path(__file__).parent / "rulebooks"
_ID: Final = re.compile(r"[A-Z][A-Z0-9]*(?:-[A-Z0-9]+)*")
_NAME: Final = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*")
_TURN: Final = re.compile(r"(?:@(\d+(?:\.\d+)?)\s+)?(agent|customer|mixed|unknown):\s*(.+)", re.DOTALL)
_DEEPEST: Final = 20
_LONGEST_S: Final = 24 * 3600.0
_OPERATORS: Final = ("phrase", "any", "all", "not", "near", "role", "first_s", "count", "required_by")
_E = TypeVar("_E", bound=StrEnum)


def load_rulebooks(paths: Sequence[Path] = ()) -> tuple[Rulebook, ...]:
    """Load rulebooks from files and folders (their ``*.yaml``); without any, those that come with callwarden.

    Raises
    ------
    RulebookError
        With every problem of every file, rule ids that stand in two rulebooks among them.
    """
    books: list[Rulebook] = []
    problems: list[Problem] = []
    for file in _files(paths or (SHIPPED,), problems):
        try:
            books.append(_read(file))
        except RulebookError as error:
            problems += error.problems
    first: dict[str, Rulebook] = {}
    for book in books:
        for rule in book.rules:
            other = first.setdefault(rule.id, book)
            if other is not book:
                text = f"is {rule.id}, which stands in {other.file.name} already"
                problems.append(Problem(book.file, rule.line, "id", text))
    if problems:
        raise RulebookError(problems)
    return tuple(books)


def check_rulebook(path: Path) -> list[Problem]:
    """Return what is wrong with a rulebook, examples that do not come out as they say among it."""
    from compliance.rules.examples import run_examples

    try:
        return run_examples(_read(path))
    except RulebookError as error:
        return error.problems


def _files(paths: Iterable[Path], problems: list[Problem]) -> list[Path]:
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            found = sorted([*path.glob("*.yaml"), *path.glob("*.yml")])
            if not found:
                problems.append(Problem(path, None, "", "the folder holds no rulebook (*.yaml)"))
            files += found
        else:
            files.append(path)
    return files


def _read(file: Path) -> Rulebook:
    reader = _Reader(file)
    book = reader.rulebook(read_yaml(file))
    if reader.problems:
        raise RulebookError(reader.problems)
    assert book is not None
    return book


class _Reader:
    """Reads on behind a problem, so that one run shows them all. A method gives None where it noted one."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.problems: list[Problem] = []

    def _wrong(self, value: source.Value | int, field: str, message: str) -> None:
        line = value if isinstance(value, int) else value.line
        self.problems.append(Problem(self._file, line, field or source.WHOLE, message))

    # Values

    def _fields(
        self, value: source.Value, field: str, required: Sequence[str], optional: Sequence[str] = ()
    ) -> dict[str, source.Value] | None:
        if not isinstance(value, source.Mapping):
            self._wrong(value, field, f"must be a mapping with the fields {_list((*required, *optional))}")
            return None
        known = (*required, *optional)
        for key in value.items:
            if key not in known:
                close = difflib.get_close_matches(key, known, 1)
                hint = f"did you mean {close[0]}?" if close else f"known here are {_list(known)}"
                self._wrong(value.lines[key], _join(field, key), f"is not known; {hint}".rstrip("?"))
        for key in required:
            if key not in value.items:
                self._wrong(value, _join(field, key), "is missing")
        return value.items if all(key in value.items for key in required) else None

    def _text(self, value: source.Value | None, field: str) -> str:
        if value is None:
            return ""
        if not isinstance(value, source.Scalar) or value.kind == "null" or not value.text.strip():
            self._wrong(value, field, "must be text")
            return ""
        return " ".join(value.text.split())

    def _number(
        self, value: source.Value, field: str, least: float, most: float, whole: bool = False
    ) -> float | None:
        kind = "whole number" if whole else "number"
        allowed = ("int",) if whole else ("int", "float")
        if isinstance(value, source.Scalar) and value.kind in allowed:
            try:
                number = float(value.text.replace("_", ""))
            except ValueError:
                number = float("nan")
            if least <= number <= most:
                return number
        self._wrong(value, field, f"must be a {kind} between {least:g} and {most:g}")
        return None

    def _choice(self, value: source.Value, field: str, kind: type[_E], allowed: Iterable[_E]) -> _E | None:
        names = [item.value for item in allowed]
        if isinstance(value, source.Scalar) and value.text in names:
            return kind(value.text)
        self._wrong(value, field, f"must be one of {_list(names)}")
        return None

    def _flag(self, value: source.Value | None, field: str) -> bool:
        if value is None:
            return False
        if not isinstance(value, source.Scalar) or value.text.lower() not in ("true", "false"):
            self._wrong(value, field, "must be true or false")
            return False
        return value.text.lower() == "true"

    def _items(self, value: source.Value | None, field: str, least: int = 1) -> tuple[source.Value, ...]:
        if value is None:
            return ()
        if not isinstance(value, source.Sequence) or len(value.items) < least:
            self._wrong(value, field, f"must be a list of at least {least}")
            return ()
        return value.items

    # Rulebook and rules

    def rulebook(self, value: source.Value) -> Rulebook | None:
        fields = self._fields(value, "", ("rulebook", "version", "title", "rules"), ("about",))
        if fields is None:
            return None
        name = self._text(fields["rulebook"], "rulebook")
        if name and not _NAME.fullmatch(name):
            self._wrong(fields["rulebook"], "rulebook", "must be lower-case words with hyphens between them")
        read = [
            self._rule(item, f"rules[{place}]") for place, item in enumerate(self._items(fields["rules"], "rules"))
        ]
        rules = [rule for rule in read if rule is not None]
        lines: dict[str, int] = {}
        for rule in rules:
            if rule.id in lines:
                self._wrong(rule.line, "id", f"is {rule.id}, which stands on line {lines[rule.id]} already")
            lines.setdefault(rule.id, rule.line)
        return Rulebook(
            name,
            self._text(fields["version"], "version"),
            self._text(fields["title"], "title"),
            tuple(rules),
            self._text(fields.get("about"), "about"),
            self._file,
        )

    def _rule(self, value: source.Value, field: str) -> Rule | None:
        fields = self._fields(
            value,
            field,
            ("id", "title", "severity", "sources", "when"),
            ("alert", "about", "min_confidence", "examples"),
        )
        if fields is None:
            return None
        identity = self._text(fields["id"], f"{field}.id")
        if identity and not _ID.fullmatch(identity):
            self._wrong(
                fields["id"], f"{field}.id", "must be upper-case words or numbers with hyphens between them"
            )
        severity = self._choice(fields["severity"], f"{field}.severity", Severity, Severity)
        sources = self._items(fields["sources"], f"{field}.sources")
        confidence = 0.0
        if "min_confidence" in fields:
            confidence = self._number(fields["min_confidence"], f"{field}.min_confidence", 0, 1) or 0.0
        when = self._condition(fields["when"], f"{field}.when", outermost=True)
        title = self._text(fields["title"], f"{field}.title")
        examples = self._examples(fields.get("examples"), f"{field}.examples")
        if when is None or severity is None:
            return None
        return Rule(
            id=identity,
            title=title,
            severity=severity,
            when=when,
            alert=self._flag(fields.get("alert"), f"{field}.alert"),
            sources=tuple(self._text(item, f"{field}.sources[{place}]") for place, item in enumerate(sources)),
            about=self._text(fields.get("about"), f"{field}.about"),
            min_confidence=confidence,
            examples=examples,
            line=fields["id"].line,
        )

    # Examples

    def _examples(self, value: source.Value | None, field: str) -> tuple[Example, ...]:
        if value is None:
            return ()
        fields = self._fields(value, field, (), ("match", "no_match")) or {}
        examples: list[Example] = []
        for name in ("match", "no_match"):
            for place, item in enumerate(self._items(fields.get(name), f"{field}.{name}")):
                turns = item.items if isinstance(item, source.Sequence) else (item,)
                read = [self._turn(turn, f"{field}.{name}[{place}]") for turn in turns]
                examples.append(Example(tuple(turn for turn in read if turn), name == "match", item.line))
        return tuple(examples)

    def _turn(self, value: source.Value, field: str) -> Turn | None:
        found = _TURN.fullmatch(value.text.strip()) if isinstance(value, source.Scalar) else None
        if found is None:
            self._wrong(
                value,
                field,
                "must be a turn like 'agent: good morning', or '@35 agent: good morning' for one at 35 s",
            )
            return None
        at_s, role, text = found.groups()
        return Turn(Role(role), " ".join(text.split()), None if at_s is None else round(float(at_s) * 1000))

    # Conditions

    def _condition(
        self, value: source.Value, field: str, outermost: bool = False, depth: int = 0, negatable: bool = False
    ) -> Condition | None:
        if depth > _DEEPEST:
            self._wrong(value, field, f"has more than {_DEEPEST} levels within each other")
            return None
        if isinstance(value, source.Scalar):
            return self._phrase(value, field)
        if not isinstance(value, source.Mapping) or len(value.items) != 1:
            self._wrong(value, field, f"must be a phrase or have exactly one operator of {_list(_OPERATORS)}")
            return None
        ((operator, given),) = value.items.items()
        line = value.lines[operator]
        place = _join(field, operator)
        if operator == "required_by" and not outermost:
            self._wrong(line, place, "can only stand outermost in a rule")
            return None
        if operator == "not":
            if not negatable:
                self._wrong(line, place, "can only stand in all, or in near behind the first part")
                return None
            part = self._condition(given, place, depth=depth + 1)
            return None if part is None else Not(part)
        read: dict[str, Callable[[source.Value, str, int], Condition | None]] = {
            "phrase": lambda given, place, _: self._phrase(given, place),
            "any": self._any,
            "all": self._all,
            "near": self._near,
            "role": self._role,
            "first_s": self._first,
            "count": self._count,
            "required_by": self._required_by,
        }
        if operator not in read:
            close = difflib.get_close_matches(operator, _OPERATORS, 1)
            hint = f"did you mean {close[0]}" if close else f"there are {_list(_OPERATORS)}"
            self._wrong(line, place, f"is not an operator; {hint}")
            return None
        return read[operator](given, place, depth + 1)

    def _phrase(self, value: source.Value, field: str) -> Condition | None:
        text = self._text(value, field)
        if not text:
            return None
        try:
            return Said(read_phrase(text))
        except PhraseError as error:
            self._wrong(value, field, str(error))
            return None

    def _parts(
        self, value: source.Value, field: str, depth: int, least: int = 1, first_negatable: bool | None = None
    ) -> tuple[Condition, ...] | None:
        items = self._items(value, field, least)
        parts = [
            self._condition(
                item,
                f"{field}[{place}]",
                depth=depth,
                negatable=first_negatable is not None and (place > 0 or first_negatable),
            )
            for place, item in enumerate(items)
        ]
        return tuple(part for part in parts if part) if parts and None not in parts else None

    def _any(self, value: source.Value, field: str, depth: int) -> Condition | None:
        parts = self._parts(value, field, depth)
        return None if parts is None else AnyOf(parts)

    def _all(self, value: source.Value, field: str, depth: int) -> Condition | None:
        parts = self._parts(value, field, depth, first_negatable=True)
        if parts is None:
            return None
        if all(isinstance(part, Not) for part in parts):
            self._wrong(
                value, field, "must have a part that is not a not; use required_by for what was never said"
            )
            return None
        return AllOf(parts)

    def _near(self, value: source.Value, field: str, depth: int) -> Condition | None:
        fields = self._fields(value, field, ("of",), ("words", "seconds"))
        if fields is None:
            return None
        if ("words" in fields) == ("seconds" in fields):
            self._wrong(value, field, "must have either words or seconds")
            return None
        parts = self._parts(fields["of"], f"{field}.of", depth, least=2, first_negatable=False)
        if "words" in fields:
            words = self._number(fields["words"], f"{field}.words", 0, 50, whole=True)
            return None if parts is None or words is None else Near(parts, words=int(words))
        limit = self._number(fields["seconds"], f"{field}.seconds", 0, 3600)
        return None if parts is None or limit is None else Near(parts, ms=round(limit * 1000))

    def _that(
        self, fields: dict[str, source.Value], field: str, depth: int, name: str = "that"
    ) -> Condition | None:
        return self._condition(fields[name], f"{field}.{name}", depth=depth)

    def _role(self, value: source.Value, field: str, depth: int) -> Condition | None:
        fields = self._fields(value, field, ("is", "that"))
        if fields is None:
            return None
        role = self._choice(fields["is"], f"{field}.is", Role, (Role.AGENT, Role.CUSTOMER))
        part = self._that(fields, field, depth)
        return None if role is None or part is None else SpokenBy(role, part)

    def _first(self, value: source.Value, field: str, depth: int) -> Condition | None:
        fields = self._fields(value, field, ("seconds", "that"))
        if fields is None:
            return None
        limit = self._number(fields["seconds"], f"{field}.seconds", 0.1, _LONGEST_S)
        part = self._that(fields, field, depth)
        return None if limit is None or part is None else Within(round(limit * 1000), part)

    def _count(self, value: source.Value, field: str, depth: int) -> Condition | None:
        fields = self._fields(value, field, ("at_least", "of"))
        if fields is None:
            return None
        least = self._number(fields["at_least"], f"{field}.at_least", 2, 1000, whole=True)
        part = self._that(fields, field, depth, "of")
        return None if least is None or part is None else Count(int(least), part)

    def _required_by(self, value: source.Value, field: str, depth: int) -> Condition | None:
        fields = self._fields(value, field, ("seconds", "role", "that"))
        if fields is None:
            return None
        limit = self._number(fields["seconds"], f"{field}.seconds", 0.1, _LONGEST_S)
        role = self._choice(fields["role"], f"{field}.role", Role, (Role.AGENT, Role.CUSTOMER))
        part = self._that(fields, field, depth)
        if limit is None or role is None or part is None:
            return None
        return RequiredBy(round(limit * 1000), role, part)


def _join(field: str, key: str) -> str:
    return f"{field}.{key}" if field else key


def _list(names: Iterable[str]) -> str:
    *rest, last = names
    return f"{', '.join(rest)} or {last}" if rest else last
