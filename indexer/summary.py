"""The few fields of a document that lists, filters and full-text search need."""

from __future__ import annotations

from typing import Final

from events.call_document import CallDocument
from events.finding import Severity
from events.identity import Role
from events.transcript import PiiKind
from indexer.index import CallSummary, SummaryLeg

WORST_FIRST: Final = (Severity.HIGH, Severity.MEDIUM, Severity.LOW, Severity.INFO)
OPENING_LENGTH: Final = 160


def summarize(document: CallDocument) -> CallSummary:
    """Return what a list of calls shows of `document`."""
    answered = {answer.alert for answer in document.answers}
    ranked = sorted({(WORST_FIRST.index(item.severity), item.rule) for item in document.findings})
    return CallSummary(
        call=document.call,
        revision=document.revision,
        state=document.state,
        started_at_ms=document.started_at_ms,
        duration_ms=document.duration_ms,
        source=document.source,
        from_uri=document.from_uri,
        to_uri=document.to_uri,
        external_id=document.external_id,
        legs=tuple(SummaryLeg(leg.leg, leg.role, leg.speaker_name) for leg in document.legs),
        rules=tuple(dict.fromkeys(rule for _, rule in ranked)),
        worst=WORST_FIRST[ranked[0][0]] if ranked else None,
        findings=len(document.findings),
        alerts=len(document.alerts),
        open_alerts=sum(alert.id not in answered for alert in document.alerts),
        entities=tuple(sorted(entities_of(document))),
        opening=_opening(document),
    )


def entities_of(document: CallDocument) -> set[PiiKind]:
    """Return the kinds of personal data that were hidden in the call."""
    return {span.kind for segment in document.segments for span in segment.spans}


def speakers_of(document: CallDocument) -> set[Role]:
    """Return the roles that said something."""
    return {segment.role for segment in document.segments if segment.words}


def facts_of(document: CallDocument) -> list[str]:
    """Return what can be searched of a call besides its words: names, addresses, labels, rules."""
    facts = [document.from_uri, document.to_uri, document.external_id]
    facts += [value for _, value in document.metadata]
    for leg in document.legs:
        facts += [leg.speaker_name, leg.speaker_uri]
    for finding in document.findings:
        facts += [finding.rule, finding.rule_title]
    return list(dict.fromkeys(fact for fact in facts if fact))


def _opening(document: CallDocument) -> str:
    text = ""
    for segment in document.segments:
        text = f"{text} {segment.text}".strip()
        if len(text) > OPENING_LENGTH:
            return text[:OPENING_LENGTH].rsplit(" ", 1)[0] + " …"
    return text
