"""What a person types into the search box, as a tree.

    refund                      a word, in all its forms (refunds, refunded)
    "guaranteed return"         words next to each other in one segment
    guarant*                    words that begin so
    refund invoice              both, anywhere in the call; `AND` may stand between them
    refund OR invoice           one of them
    refund NOT invoice          the first without the second; `-invoice` is the same
    agent:refund                said by the agent; likewise customer, unknown and mixed, before phrases and groups
    (a OR b) AND agent:(c d)    groups

Operators are upper case; NOT binds tighter than AND, AND tighter than OR. Anything else is a word: nothing a
person types reaches a driver's own query language.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Final

from events.identity import Role
from indexer.index import BadQuery

MOST_CONDITIONS: Final = 64
DEEPEST: Final = 20
DEEPEST_TREE: Final = 20
"""Levels of the tree that engines can take: FTS5's parser and Elasticsearch's both give up some levels below."""


@dataclass(frozen=True, slots=True)
class Said:
    """One segment has these words next to each other; with `prefix`, the last one only begins so."""

    words: str
    prefix: bool = False
    role: Role | None = None


@dataclass(frozen=True, slots=True)
class Every:
    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Some:
    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Without:
    part: Condition


Condition = Said | Every | Some | Without

_TOKEN: Final = re.compile(
    r"""\s*(?:
        (?P<open>\() | (?P<close>\))
      | (?P<role>agent|customer|unknown|mixed):(?=[^\s)])
      | (?P<minus>-)(?=[\w"(])
      | "(?P<phrase>[^"]*)"(?P<star>\*)?
      | (?P<unclosed>")
      | (?P<word>[^\s()"]+)
    )""",
    re.VERBOSE,
)


def parse(text: str, spoken_by: Role | None = None) -> Condition | None:
    """Return the tree of `text`, None where it is blank.

    Parameters
    ----------
    text
        What a person typed.
    spoken_by
        The role that every word and phrase without a role of its own gets.

    Raises
    ------
    BadQuery
        One sentence for the person; it does not repeat what was typed.
    """
    tokens = _tokens(_clean(text))
    if not tokens:
        if text.strip():
            raise BadQuery("The search text has no letters or digits to look for.")
        return None
    reader = _Reader(tokens)
    tree = reader.some(0, spoken_by)
    if not reader.at_end():
        raise BadQuery("The search text closes a parenthesis that it did not open.")
    return tree


def _clean(text: str) -> str:
    """Return `text` with straight quotes and without control, private-use or broken characters."""
    straight = text.translate({0x201C: '"', 0x201D: '"', 0x201E: '"', 0x2018: "'", 0x2019: "'"})
    return "".join(" " if unicodedata.category(char).startswith("C") else char for char in straight)


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str = ""
    prefix: bool = False


def _tokens(text: str) -> list[_Token]:
    tokens = []
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup or ""
        if kind == "unclosed":
            raise BadQuery("The search text opens a quotation mark that it does not close.")
        if match["phrase"] is not None:
            tokens.append(_said(match["phrase"], match["star"] is not None))
        elif match["word"] in ("AND", "OR", "NOT"):
            tokens.append(_Token(match["word"]))
        elif kind == "word":
            if any(char.isalnum() for char in match["word"]):
                tokens.append(_said(match["word"].removesuffix("*"), match["word"].endswith("*")))
            elif "*" in match["word"]:
                raise BadQuery("An asterisk in the search text needs at least one letter or digit before it.")
        elif kind == "minus":
            tokens.append(_Token("NOT"))
        else:
            tokens.append(_Token(kind, match[kind]))
    if sum(token.kind == "said" for token in tokens) > MOST_CONDITIONS:
        raise BadQuery(f"A search text has at most {MOST_CONDITIONS} words and phrases.")
    return tokens


def _said(words: str, prefix: bool) -> _Token:
    if "*" in words:
        raise BadQuery("An asterisk in the search text stands at the end of a word only.")
    if not any(char.isalnum() for char in words):
        raise BadQuery("The search text has quotation marks without letters or digits between them.")
    return _Token("said", words, prefix)


class _Reader:
    """Recursive descent; depth is bounded because the text comes from outside."""

    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._place = 0

    def at_end(self) -> bool:
        return self._place == len(self._tokens)

    def _next_is(self, *kinds: str) -> bool:
        return not self.at_end() and self._tokens[self._place].kind in kinds

    def _take(self) -> _Token:
        token = self._tokens[self._place]
        self._place += 1
        return token

    def some(self, depth: int, role: Role | None) -> Condition:
        parts = [self._every(depth, role)]
        while self._next_is("OR"):
            self._take()
            parts.append(self._every(depth, role))
        return parts[0] if len(parts) == 1 else Some(tuple(parts))

    def _every(self, depth: int, role: Role | None) -> Condition:
        parts = [self._without(depth, role)]
        while self._next_is("AND", "NOT", "said", "role", "open"):
            if self._next_is("AND"):
                self._take()
            parts.append(self._without(depth, role))
        return parts[0] if len(parts) == 1 else Every(tuple(parts))

    def _without(self, depth: int, role: Role | None) -> Condition:
        negated = False
        while self._next_is("NOT"):
            self._take()
            negated = not negated
        part = self._one(depth, role)
        return Without(part) if negated else part

    def _one(self, depth: int, role: Role | None) -> Condition:
        while self._next_is("role"):
            role = Role(self._take().text)
        if self._next_is("said"):
            token = self._take()
            return Said(token.text, token.prefix, role)
        if self._next_is("open"):
            if depth >= DEEPEST:
                raise BadQuery(f"The search text has more than {DEEPEST} parentheses within each other.")
            self._take()
            part = self.some(depth + 1, role)
            if not self._next_is("close"):
                raise BadQuery("The search text opens a parenthesis that it does not close.")
            self._take()
            return part
        raise BadQuery(
            "The search text has an AND, OR, NOT, role or parenthesis with nothing to look for behind it."
        )


def positive(condition: Condition) -> tuple[Condition, bool]:
    """Return an equal condition without a negation at its top, and whether it has to be negated as a whole.

    Full-text engines know "a without b" but not "everything without b". Inside the condition that is returned,
    `Without` stands only in an `Every` beside at least one part that is none.
    """
    match condition:
        case Said():
            return condition, False
        case Without(part):
            inner, negated = positive(part)
            return inner, not negated
        case Every(parts):
            return _joined(parts, negate=False)
        case Some(parts):
            # a OR b is NOT (NOT a AND NOT b)
            inner, negated = _joined(parts, negate=True)
            return inner, not negated
    raise AssertionError(condition)


def check_depth(condition: Condition) -> None:
    """Raise BadQuery when `condition`, as `positive` leaves it, has more levels than `DEEPEST_TREE`."""
    level: list[Condition] = [condition]
    for _ in range(DEEPEST_TREE):
        level = [part for item in level for part in _parts(item)]
        if not level:
            return
    raise BadQuery("The search text has too many conditions within each other; write it with fewer parentheses.")


def _parts(condition: Condition) -> tuple[Condition, ...]:
    match condition:
        case Every(parts) | Some(parts):
            return parts
        case Without(part):
            return (part,)
    return ()


def _joined(parts: tuple[Condition, ...], negate: bool) -> tuple[Condition, bool]:
    """Join parts (or their opposites) by AND."""
    wanted: list[Condition] = []
    unwanted: list[Condition] = []
    for part in parts:
        inner, negated = positive(part)
        (unwanted if negated != negate else wanted).append(inner)
    if not wanted:
        return _either(unwanted), True
    if not unwanted:
        return (wanted[0] if len(wanted) == 1 else Every(tuple(wanted))), False
    return Every((*wanted, Without(_either(unwanted)))), False


def _either(parts: list[Condition]) -> Condition:
    return parts[0] if len(parts) == 1 else Some(tuple(parts))
