"""A tree of conditions over the phrase hits of a call, now.

Called again whenever a hit or time may have changed the answer. What has not happened yet is not known to be
absent: a `Not` holds only once nothing more can come where it looks, and until then the answer is `waiting`.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from compliance.rules.phrase import Phrase, shown
from compliance.rules.rule import (
    AllOf,
    AnyOf,
    Condition,
    Count,
    Near,
    Not,
    RequiredBy,
    Said,
    SpokenBy,
    Within,
    parts_of,
    phrases_of,
)
from compliance.rules.timing import CallHeard, Span
from events.identity import Role

_LONGEST_PHRASE_MS: Final = 3_000
"""How long the words of a phrase may take, for conditions that wait until it cannot be said in time any more."""

_LONGEST_MATCH_MS: Final = 60_000
"""How long a part of `near` may take at most, where it has parts of its own."""


class UnnamedSpeakers(StrEnum):
    """Whether `role: agent` holds for legs on which both parties speak, or one that nobody named."""

    COUNT = "count"
    """They may be the role asked for, so they count: nothing forbidden is missed, and nothing required is
    reported missing that was said. The finding says that the speaker is not known."""
    IGNORE = "ignore"
    """They are nobody. What a role was required to say is then not judged on calls without a leg of that role."""


@dataclass(frozen=True, slots=True)
class Match:
    spans: tuple[Span, ...]
    """By start."""
    reason: str
    """What came true, in the rule's words: continues "The agent said "."""

    @property
    def start_ms(self) -> int:
        return self.spans[0].start_ms

    @property
    def end_ms(self) -> int:
        return max(span.end_ms for span in self.spans)

    @property
    def legs(self) -> frozenset[int]:
        return frozenset(span.leg for span in self.spans)


@dataclass(slots=True)
class Evaluation:
    """One evaluation of one rule; `waiting` is its second result."""

    heard: CallHeard
    hits: Mapping[Phrase, Sequence[Span]]
    min_confidence: float
    unnamed: UnnamedSpeakers
    longest_pause_ms: int
    since_ms: int = 0
    """Hits that ended before are left out; see `reach_ms`."""
    waiting: bool = False

    def matches(self, condition: Condition) -> list[Match]:
        """Return what makes `condition` true, by time of completion."""
        match condition:
            case Said(phrase):
                found = [
                    Match((span,), f"“{span.pattern}”")
                    for span in self.hits.get(phrase, ())
                    if span.end_ms >= self.since_ms and span.confidence >= self.min_confidence
                ]
            case AnyOf(parts):
                found = [match for part in parts for match in self.matches(part)]
            case AllOf(parts):
                found = self._all(parts)
            case Near():
                found = self._near(condition)
            case SpokenBy(role, part):
                found = [match for match in self.matches(part) if self._spoken_by(match, role)]
            case Within(ms, part):
                limit = f"in the first {seconds(ms)}"
                found = [
                    Match(match.spans, f"{match.reason} {limit}")
                    for match in self.matches(part)
                    if match.end_ms <= ms
                ]
            case Count(at_least, part):
                found = self._count(at_least, part)
            case Not() | RequiredBy():
                raise AssertionError("This condition does not stand alone.")
        return sorted(found, key=lambda match: (match.end_ms, match.start_ms))

    def plays(self, actual: Role, asked: Role) -> bool:
        """Whether somebody of role `actual` may be who is asked for."""
        if actual in (Role.MIXED, Role.UNKNOWN) and asked in (Role.AGENT, Role.CUSTOMER):
            return self.unnamed is UnnamedSpeakers.COUNT
        return actual is asked

    def _spoken_by(self, match: Match, role: Role) -> bool:
        return all(self.plays(span.role, role) for span in match.spans)

    def _all(self, parts: Sequence[Condition]) -> list[Match]:
        firsts: list[Match] = []
        for part in parts:
            if not isinstance(part, Not):
                found = self.matches(part)
                if not found:
                    return []
                firsts.append(found[0])
        for part in parts:
            if isinstance(part, Not):
                if self.matches(part.part):
                    return []
                if not self._settled(part.part):
                    self.waiting = True
                    return []
        unsaid = [describe(part.part) for part in parts if isinstance(part, Not)]
        reason = " and ".join(dict.fromkeys(match.reason for match in firsts))
        return [_joined(firsts, reason + "".join(f" but not {names}" for names in unsaid))]

    def _settled(self, condition: Condition) -> bool:
        """Whether no further match of `condition` can come."""
        limit = _limit_ms(condition)
        return self.heard.ended or (limit is not None and self.heard.passed(limit))

    def _count(self, at_least: int, part: Condition) -> list[Match]:
        apart: list[Match] = []
        for match in self.matches(part):
            if not any(_overlap(match, other) for other in apart):
                apart.append(match)
        if len(apart) < at_least:
            return []
        first = apart[:at_least]
        reasons = list(dict.fromkeys(match.reason for match in first))
        return [_joined(first, f"{' or '.join(reasons)}, {at_least} times in all")]

    # Near

    def _near(self, near: Near) -> list[Match]:
        anchors = self.matches(near.parts[0])
        if not anchors:
            return []
        wanted = [_ByStart(self.matches(part)) for part in near.parts[1:] if not isinstance(part, Not)]
        unwanted = [part.part for part in near.parts[1:] if isinstance(part, Not)]
        hindering = [_ByStart(self.matches(part)) for part in unwanted]
        found: list[Match] = []
        for anchor in anchors:
            nearest = [self._nearest(anchor, candidates, near) for candidates in wanted]
            if None in nearest or any(self._hinders(anchor, others, near) for others in hindering):
                continue
            if not all(self._heard_behind(anchor, part, near) for part in unwanted):
                self.waiting = True
                continue
            together = [anchor, *(match for match in nearest if match is not None)]
            found.append(_joined(together, _near_reason(together, near)))
        return found

    def _nearest(self, anchor: Match, candidates: _ByStart, near: Near) -> Match | None:
        best: tuple[int, Match] | None = None
        for other in candidates.around(anchor, self._reach_ms(near)):
            distance = _distance(anchor, other, near)
            if distance is not None and 0 <= distance <= _limit(near) and (best is None or distance < best[0]):
                best = distance, other
        return None if best is None else best[1]

    def _hinders(self, anchor: Match, others: _ByStart, near: Near) -> bool:
        for other in others.around(anchor, self._reach_ms(near)):
            distance = _distance(anchor, other, near)
            if distance is not None and distance <= _limit(near):
                return True
        return False

    def _reach_ms(self, near: Near) -> int:
        return _near_reach_ms(near, self.longest_pause_ms)

    def _heard_behind(self, anchor: Match, part: Condition, near: Near) -> bool:
        """Whether everything has been heard that could still be `part` near `anchor`."""
        if self.heard.ended:
            return True
        if near.ms is not None:
            return self.heard.passed(anchor.end_ms + near.ms + _LONGEST_PHRASE_MS)
        assert near.words is not None
        leg = self.heard.legs[anchor.spans[0].leg]
        last = max(anchor.spans, key=lambda span: span.last)
        longest = max(len(sequence) for phrase in phrases_of(part) for sequence in phrase.sequences)
        return (
            leg.run > last.run
            or leg.places - 1 - last.last >= near.words + longest
            or leg.passed(leg.last_word_end_ms + self.longest_pause_ms + 1)
        )


class _ByStart:
    """Matches by start, so that those near an anchor are found without looking at a whole call's."""

    def __init__(self, matches: Sequence[Match]) -> None:
        self._matches = sorted(matches, key=lambda match: match.start_ms)
        self._starts = [match.start_ms for match in self._matches]

    def around(self, anchor: Match, reach_ms: int) -> Sequence[Match]:
        first = bisect_left(self._starts, anchor.start_ms - reach_ms)
        return self._matches[first : bisect_right(self._starts, anchor.end_ms + reach_ms)]


def _limit(near: Near) -> int:
    limit = near.words if near.words is not None else near.ms
    assert limit is not None
    return limit


def _distance(anchor: Match, other: Match, near: Near) -> int | None:
    """Return the words or milliseconds between; negative where they overlap, None where they cannot be compared."""
    if near.ms is not None:
        gap = max(other.start_ms - anchor.end_ms, anchor.start_ms - other.end_ms)
        return -1 if _overlap(anchor, other) else max(gap, 0)
    if len(anchor.legs | other.legs) > 1 or len({span.run for span in (*anchor.spans, *other.spans)}) > 1:
        return None
    if _overlap(anchor, other):
        return -1
    first, last = min(span.first for span in anchor.spans), max(span.last for span in anchor.spans)
    other_first, other_last = min(span.first for span in other.spans), max(span.last for span in other.spans)
    return max(other_first - last, first - other_last, 1) - 1


def _overlap(one: Match, other: Match) -> bool:
    """Whether they share words."""
    return any(a.leg == b.leg and a.first <= b.last and b.first <= a.last for a in one.spans for b in other.spans)


def _joined(matches: Sequence[Match], reason: str) -> Match:
    spans = {span: None for match in matches for span in match.spans}
    return Match(tuple(sorted(spans, key=lambda span: (span.start_ms, span.leg))), reason)


def _near_reason(together: Sequence[Match], near: Near) -> str:
    if len(together) == 1:
        return together[0].reason
    distance = f"{near.words} words" if near.words is not None else seconds(_limit(near))
    return f"{together[0].reason} within {distance} of {' and '.join(match.reason for match in together[1:])}"


def reach_ms(condition: Condition, longest_pause_ms: int) -> int | None:
    """Return how far apart words of one match can lie, None where a match can hold the whole call.

    What lies farther back than that has had its chance, and need not be looked at again.
    """
    match condition:
        case Said():
            return _LONGEST_MATCH_MS
        case AllOf() | Count() | RequiredBy():
            return None
    reaches = [reach_ms(part, longest_pause_ms) for part in parts_of(condition)]
    known = [reach for reach in reaches if reach is not None]
    if len(known) < len(reaches):
        return None
    own = _near_reach_ms(condition, longest_pause_ms) if isinstance(condition, Near) else 0
    return own + max(known)


def _near_reach_ms(near: Near, longest_pause_ms: int) -> int:
    """Return a time that holds everything near: for words, as if each came after the longest pause."""
    if near.ms is not None:
        return near.ms + _LONGEST_MATCH_MS
    return (_limit(near) + 1) * (longest_pause_ms + 1_000) + _LONGEST_MATCH_MS


def _limit_ms(condition: Condition) -> int | None:
    """Return the call time behind which no match can begin to exist; None where only the call's end is one."""
    match condition:
        case Within(ms, _):
            return ms
        case SpokenBy(_, part) | Count(_, part):
            return _limit_ms(part)
        case AnyOf(parts) | AllOf(parts):
            limits = [_limit_ms(part) for part in parts if not isinstance(part, Not)]
        case Near():
            limits = [_limit_ms(part) for part in condition.parts if not isinstance(part, Not)]
        case _:
            return None
    known = [limit for limit in limits if limit is not None]
    return max(known) if len(known) == len(limits) else None


def describe(condition: Condition, most: int = 3) -> str:
    """Return what a condition looks for, in the rule's phrases; a few of them where there are many."""
    match condition:
        case Said(phrase):
            first = f"“{shown(phrase.sequences[0])}”"
            return first if len(phrase.sequences) == 1 else f"{first} or the like"
        case AnyOf(parts):
            first, *rest = [describe(part, 1) for part in parts[:most]]
            others = len(parts) - most
            more = f" or {others} other form{'s' if others > 1 else ''}" if others > 0 else ""
            return ", ".join([first, *rest]) + more if most > 1 or not more else f"{first} or the like"
        case Near():
            names = [_first_phrase(part) for part in condition.parts if not isinstance(part, Not)]
            return " near ".join(names)
        case AllOf(parts):
            return " and ".join(describe(part, 1) for part in parts if not isinstance(part, Not))
        case _:
            return describe(condition.part, most)


def _first_phrase(condition: Condition) -> str:
    return f"“{shown(next(phrases_of(condition)).sequences[0])}”"


def seconds(ms: int) -> str:
    return f"{ms / 1000:g} s"
