"""A rule: a tree of conditions, and what is said when it comes true.

The operators of this version, as a rulebook writes them:

    a phrase                                     any text; or `phrase: a phrase`
    any: [..]                                    one of them
    all: [..]                                    all of them, anywhere in the call
    not: ..                                      inside of `all`: nowhere in the call;
                                                 inside of `near`: not near the first part
    near: {words: 5, of: [a, b, ..]}             b, .. at most 5 words before or behind a, on the same leg
    near: {seconds: 10, of: [a, b, ..]}          b, .. at most 10 s before or behind a, on any leg
    role: {is: agent, that: ..}                  said by the agent
    first_s: {seconds: 30, that: ..}             said to its end within the first 30 s of the call
    count: {at_least: 3, of: ..}                 said three times
    required_by: {seconds: 30, role: agent, that: ..}
                                                 the opposite of a finding: it is a finding if it was *not* said
                                                 by then, or not before a shorter call's end. Outermost only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from compliance.rules.phrase import Phrase
from events.finding import Severity
from events.identity import Role


@dataclass(frozen=True, slots=True)
class Said:
    phrase: Phrase


@dataclass(frozen=True, slots=True)
class AnyOf:
    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class AllOf:
    """At least one part is no `Not`."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """Stands inside of `AllOf` and `Near` only, and not first in `Near`."""

    part: Condition


@dataclass(frozen=True, slots=True)
class Near:
    """Exactly one of `words` and `ms` is set; distances are counted from the first part."""

    parts: tuple[Condition, ...]
    words: int | None = None
    ms: int | None = None


@dataclass(frozen=True, slots=True)
class SpokenBy:
    role: Role
    part: Condition


@dataclass(frozen=True, slots=True)
class Within:
    """The match has ended by this call time."""

    ms: int
    part: Condition


@dataclass(frozen=True, slots=True)
class Count:
    at_least: int
    part: Condition


@dataclass(frozen=True, slots=True)
class RequiredBy:
    """Outermost only."""

    ms: int
    role: Role
    part: Condition


Condition = Said | AnyOf | AllOf | Not | Near | SpokenBy | Within | Count | RequiredBy


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of an example, starting at `at_ms` or right behind the one before."""

    role: Role
    text: str
    at_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Example:
    """A made-up call that the rule must find something in, or must not."""

    turns: tuple[Turn, ...]
    matches: bool
    line: int


@dataclass(frozen=True, slots=True)
class Rule:
    id: str
    title: str
    severity: Severity
    when: Condition
    alert: bool = False
    sources: tuple[str, ...] = ()
    """Laws and regulations that the rule comes from."""
    about: str = ""
    min_confidence: float = 0.0
    """A phrase counts if the mean confidence of its words is not below."""
    examples: tuple[Example, ...] = ()
    line: int = 0


@dataclass(frozen=True, slots=True)
class Rulebook:
    name: str
    version: str
    title: str
    rules: tuple[Rule, ...]
    about: str = ""
    file: Path = field(default_factory=Path)


def parts_of(condition: Condition) -> tuple[Condition, ...]:
    match condition:
        case Said():
            return ()
        case AnyOf(parts) | AllOf(parts):
            return parts
        case Near():
            return condition.parts
        case _:
            return (condition.part,)


def phrases_of(condition: Condition) -> Iterator[Phrase]:
    """Yield every phrase of the tree, in the order in which it was written."""
    if isinstance(condition, Said):
        yield condition.phrase
    for part in parts_of(condition):
        yield from phrases_of(part)
