"""One call's records in, findings out.

Findings come as early as they can: what was said with the segment in which the last word of it lies, what was
missing when the transcript of everyone who should have said it has passed the deadline. A finding, once made,
stands; segments that come again with a higher revision replace the old words and make no finding twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from compliance.rules.evaluate import Evaluation, Match, UnnamedSpeakers, describe, reach_ms, seconds
from compliance.rules.matcher import LegScan, PhraseMatcher
from compliance.rules.phrase import Phrase
from compliance.rules.rule import RequiredBy, Rule, Rulebook, phrases_of
from compliance.rules.timing import CallHeard, LegHeard, Span
from events.finding import Finding, FindingKind, FindingSpan
from events.identity import CallId, RecordId, Role, record_id
from events.transcript import (
    CallTranscriptEnded,
    LegProgress,
    LegTranscriptEnded,
    RedactedSegment,
    RedactedTranscriptRecord,
    SegmentStatus,
)

_SPEAKERS: Final = {
    Role.AGENT: "The agent",
    Role.CUSTOMER: "The customer",
    Role.MIXED: "One of the speakers, who share a leg,",
    Role.UNKNOWN: "A speaker whose role is not known",
}

_MOST_HITS: Final = 5_000
"""Hits of one phrase in one call; nobody who is not out to stop us says more."""


@dataclass(frozen=True, slots=True)
class RulesSettings:
    rulebooks: tuple[Path, ...] = ()
    """Files and folders; without any, the rulebooks that come with callwarden."""
    longest_pause_ms: int = 2_500
    """A longer pause between two words ends a phrase, and a distance counted in words."""
    unnamed_speakers: UnnamedSpeakers = UnnamedSpeakers.COUNT
    most_findings_per_rule: int = 100
    """In one call."""

    def __post_init__(self) -> None:
        if self.longest_pause_ms <= 0 or self.most_findings_per_rule < 1:
            raise ValueError("Rules bear a pause of more than 0 ms and make at least one finding a rule.")


class RuleSet:
    """All rules of an engine, compiled once and shared by the judges of all calls. Used by one thread."""

    def __init__(self, rulebooks: Sequence[Rulebook]) -> None:
        self.rules = tuple((book, rule) for book in rulebooks for rule in book.rules)
        phrases = {rule.id: tuple(phrases_of(rule.when)) for _, rule in self.rules}
        self.matcher = PhraseMatcher(phrase for _, rule in self.rules for phrase in phrases[rule.id])
        self.phrases: tuple[Phrase, ...] = tuple(self.matcher.numbers)
        self.rules_of_phrase: dict[Phrase, list[int]] = {phrase: [] for phrase in self.phrases}
        for number, (_, rule) in enumerate(self.rules):
            for phrase in dict.fromkeys(phrases[rule.id]):
                self.rules_of_phrase[phrase].append(number)


@dataclass(slots=True)
class _Verdict:
    """What one rule has come to in this call."""

    found: list[tuple[int, int, int]] = field(default_factory=list)
    """(leg, start_ms, end_ms) of every span of its findings."""
    findings: int = 0
    waiting: bool = False
    """Time alone may change the answer."""
    decided: bool = False
    """Nothing can change the answer."""


class Judge:
    """Judges one call. Deterministic: the same records in the same order give the same findings."""

    def __init__(self, call: CallId, rules: RuleSet, settings: RulesSettings | None = None) -> None:
        self._call = call
        self._rules = rules
        self._settings = settings or RulesSettings()
        self._heard = CallHeard()
        self._scans: dict[int, LegScan] = {}
        self._hits: dict[Phrase, list[Span]] = {}
        self._new_from_ms = 0
        """With the last record, nothing became known about the call before this time."""
        self._verdicts = [_Verdict(waiting=isinstance(rule.when, RequiredBy)) for _, rule in rules.rules]

    @property
    def ended(self) -> bool:
        return self._heard.ended

    def take(self, record: RedactedTranscriptRecord) -> list[Finding]:
        """Take the call's next record; return the findings that it completes."""
        touched: set[int] = set()
        # Taken before the record changes it: a leg that was silent for long may be heard of in one great step.
        going_on = [leg.up_to_ms for leg in self._heard.legs.values() if not leg.ended]
        self._new_from_ms = min(going_on, default=self._heard.heard_to_ms)
        if isinstance(record, RedactedSegment):
            touched = self._segment(record)
        elif isinstance(record, LegProgress):
            leg = self._heard.leg(record.leg, record.role)
            leg.up_to_ms = max(leg.up_to_ms, record.up_to_ms)
        elif isinstance(record, LegTranscriptEnded):
            leg = self._heard.leg(record.leg, record.role)
            leg.up_to_ms = max(leg.up_to_ms, record.end_ms)
            leg.ended = True
        elif isinstance(record, CallTranscriptEnded):
            self._heard.ended = True
            self._heard.end_ms = max(self._heard.end_ms, record.end_ms)
        findings: list[Finding] = []
        for number, verdict in enumerate(self._verdicts):
            if verdict.waiting or number in touched:
                findings += self._judge(number, verdict)
        return findings

    # Words

    def _segment(self, segment: RedactedSegment) -> set[int]:
        """Take words in; return the numbers of the rules whose phrases were hit."""
        if segment.status is not SegmentStatus.FINAL:
            return set()
        leg = self._heard.leg(segment.leg, segment.role)
        known = leg.segments.get(segment.id)
        if known is not None and known.revision >= segment.revision:
            return set()
        leg.up_to_ms = max(leg.up_to_ms, segment.end_ms)
        newest = next(reversed(leg.segments.values()), None)
        in_order = known is None and (newest is None or newest.first_sample <= segment.first_sample)
        leg.segments[segment.id] = segment
        self._new_from_ms = min(self._new_from_ms, segment.start_ms) if in_order else 0
        return self._scan(leg, [segment]) if in_order else self._scan_again(leg)

    def _scan_again(self, leg: LegHeard) -> set[int]:
        """A segment was revised or came late: read the whole leg anew."""
        ordered = sorted(leg.segments.values(), key=lambda item: (item.first_sample, item.id))
        leg.segments = {segment.id: segment for segment in ordered}
        leg.places = leg.run = leg.last_word_end_ms = 0
        self._scans.pop(leg.leg, None)
        for phrase, spans in self._hits.items():
            self._hits[phrase] = [span for span in spans if span.leg != leg.leg]
        return self._scan(leg, ordered)

    def _scan(self, leg: LegHeard, segments: Iterable[RedactedSegment]) -> set[int]:
        scan = self._scans.get(leg.leg)
        if scan is None:
            scan = self._scans[leg.leg] = self._rules.matcher.scan(leg, self._settings.longest_pause_ms)
        touched: set[int] = set()
        for segment in segments:
            for number, span in scan.segment(segment):
                phrase = self._rules.phrases[number]
                hits = self._hits.setdefault(phrase, [])
                if len(hits) >= _MOST_HITS:
                    continue
                hits.append(span)
                touched.update(self._rules.rules_of_phrase[phrase])
        return touched

    # Rules

    def _judge(self, number: int, verdict: _Verdict) -> list[Finding]:
        book, rule = self._rules.rules[number]
        if verdict.decided or verdict.findings >= self._settings.most_findings_per_rule:
            verdict.waiting = False
            return []
        settings = self._settings
        reach = reach_ms(rule.when, settings.longest_pause_ms)
        undecided_ms = 0 if reach is None else max(0, self._new_from_ms - reach)
        evaluation = Evaluation(
            self._heard,
            self._hits,
            rule.min_confidence,
            settings.unnamed_speakers,
            settings.longest_pause_ms,
            # What is undecided may depend on hits before it.
            max(0, undecided_ms - (reach or 0)),
        )
        if isinstance(rule.when, RequiredBy):
            return self._required(book, rule, rule.when, evaluation, verdict)
        findings = [
            self._said(book, rule, match)
            for match in evaluation.matches(rule.when)
            if match.start_ms >= undecided_ms and self._is_new(match, verdict)
        ]
        verdict.waiting = evaluation.waiting and not self._heard.ended
        verdict.findings += len(findings)
        return findings

    def _is_new(self, match: Match, verdict: _Verdict) -> bool:
        """Whether no finding of the rule lies where this one would; if so, note that it does now."""
        places = [(span.leg, span.start_ms, span.end_ms) for span in match.spans]
        for leg, start_ms, end_ms in places:
            for other_leg, other_start_ms, other_end_ms in verdict.found:
                if leg == other_leg and start_ms < other_end_ms and other_start_ms < end_ms:
                    return False
        verdict.found += places
        return True

    def _said(self, book: Rulebook, rule: Rule, match: Match) -> Finding:
        first = match.spans[0]
        roles = {span.role for span in match.spans}
        who = _SPEAKERS[first.role] if len(roles) == 1 else "The speakers"
        return Finding(
            id=record_id(self._call, "finding", rule.id, first.leg, first.start_ms),
            call=self._call,
            rule=rule.id,
            rule_title=rule.title,
            rulebook=book.name,
            rulebook_version=book.version,
            kind=FindingKind.SAID,
            severity=rule.severity,
            role=first.role,
            at_ms=first.start_ms,
            spans=tuple(
                FindingSpan(span.leg, RecordId(segment), start_ms, end_ms)
                for span in match.spans
                for segment, start_ms, end_ms in span.segments
            ),
            why=f"{who} said {match.reason}.",
            alert=rule.alert,
        )

    def _required(
        self, book: Rulebook, rule: Rule, required: RequiredBy, evaluation: Evaluation, verdict: _Verdict
    ) -> list[Finding]:
        heard = self._heard
        legs = [leg for leg in heard.legs.values() if evaluation.plays(leg.role, required.role)]
        in_time = any(
            match.end_ms <= required.ms and all(evaluation.plays(span.role, required.role) for span in match.spans)
            for match in evaluation.matches(required.part)
        )
        verdict.decided = in_time or heard.passed(required.ms, legs)
        verdict.waiting = not verdict.decided
        if in_time or not verdict.decided:
            return []
        ignored = self._settings.unnamed_speakers is UnnamedSpeakers.IGNORE and any(
            leg.role in (Role.MIXED, Role.UNKNOWN) for leg in heard.legs.values()
        )
        if not heard.legs or (not legs and ignored):
            return []
        verdict.findings += 1
        cut_short = heard.ended and heard.heard_to_ms < required.ms
        return [
            Finding(
                id=record_id(self._call, "finding", rule.id, "missing", required.ms),
                call=self._call,
                rule=rule.id,
                rule_title=rule.title,
                rulebook=book.name,
                rulebook_version=book.version,
                kind=FindingKind.MISSING,
                severity=rule.severity,
                role=required.role,
                at_ms=min(required.ms, heard.heard_to_ms) if cut_short else required.ms,
                spans=(),
                why=_missing(required, bool(legs), heard.heard_to_ms if cut_short else None),
                alert=rule.alert,
            )
        ]


def _missing(required: RequiredBy, anybody: bool, end_ms: int | None) -> str:
    phrases = describe(required.part)
    limit = f"within the first {seconds(required.ms)}"
    if not anybody:
        return f"The call had no leg of the {required.role.value}, so nobody said {phrases} {limit}."
    if end_ms is not None:
        limit = f"before the call ended at {seconds(end_ms)}, with {seconds(required.ms)} allowed"
    return f"The {required.role.value} did not say {phrases} {limit}."
