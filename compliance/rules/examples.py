"""Runs the examples that a rulebook brings: what each rule must find, and what it must not."""

from __future__ import annotations

from collections.abc import Iterator

from compliance.rules.judge import Judge, RuleSet
from compliance.rules.rule import Example, Rule, Rulebook
from compliance.rules.yaml_source import Problem
from events.finding import Finding
from events.identity import CallId, Role, record_id
from events.transcript import (
    CallTranscriptEnded,
    LegTranscriptEnded,
    RedactedSegment,
    RedactedTranscriptRecord,
    SegmentStatus,
    Word,
)

_CALL = CallId("e" * 32)
_WORD_MS = 350
"""About 170 words a minute."""
_TURN_GAP_MS = 500


def run_examples(book: Rulebook) -> list[Problem]:
    """Return a problem for every example that does not come out as it says."""
    problems: list[Problem] = []
    for rule in book.rules:
        for example in rule.examples:
            found = bool(judge_example(book, rule, example))
            if found != example.matches:
                text = f"{rule.id} finds {'nothing' if example.matches else 'something'} in this example"
                problems.append(Problem(book.file, example.line, "", text))
    return problems


def judge_example(book: Rulebook, rule: Rule, example: Example) -> list[Finding]:
    """Return what one rule finds in one example."""
    only = Rulebook(book.name, book.version, book.title, (rule,), book.about, book.file)
    judge = Judge(_CALL, RuleSet([only]))
    return [finding for record in _records(example) for finding in judge.take(record)]


def _records(example: Example) -> Iterator[RedactedTranscriptRecord]:
    now_ms = 0
    roles: list[Role] = []
    for turn in example.turns:
        start_ms = now_ms if turn.at_ms is None else turn.at_ms
        if turn.role not in roles:
            roles.append(turn.role)
        leg = roles.index(turn.role)
        words = tuple(
            Word(_as_heard(text), start_ms + place * _WORD_MS, start_ms + (place + 1) * _WORD_MS - 50, 0.9)
            for place, text in enumerate(turn.text.split())
        )
        end_ms = words[-1].end_ms
        first_sample = start_ms * 8
        identity = record_id(_CALL, "segment", leg, first_sample)
        yield RedactedSegment(
            identity, _CALL, leg, turn.role, SegmentStatus.FINAL, first_sample, start_ms, end_ms, words
        )
        now_ms = end_ms + _TURN_GAP_MS
    for leg, role in enumerate(roles):
        yield LegTranscriptEnded(_CALL, leg, role, now_ms)
    yield CallTranscriptEnded(_CALL, tuple(range(len(roles))), now_ms)


def _as_heard(text: str) -> str:
    """Return a word of an example as a recogniser writes it: lower case, without punctuation."""
    return text if text.startswith("[") else text.lower().strip('.,!?;:"')
