"""The operators over a call, live: when a finding comes, where it points, what it says, and that it comes once."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compliance.rules.evaluate import UnnamedSpeakers, reach_ms
from compliance.rules.judge import RulesSettings
from compliance.rules.rule import AllOf, AnyOf, Condition, Count, Near, Not, RequiredBy, SpokenBy, Within
from events.finding import FindingKind, Severity
from events.identity import Role
from events.transcript import RedactedTranscriptRecord, SegmentStatus
from tests.compliance.judged_calls import (
    CALL,
    WORD_MS,
    call_ended,
    judge_of,
    judged,
    leg_ended,
    places,
    progress,
    said,
    segment,
)

CONSENT = RequiredBy(30_000, Role.AGENT, said("record*"))


# What a finding holds


def test_a_finding_points_to_words_and_says_why_without_them() -> None:
    records = [segment(0, 800, "i offer a guaranteed uh return")]
    (finding,) = judged(SpokenBy(Role.AGENT, said("guarant* return")), records)
    assert finding.id == f"{CALL}:finding:R-1:0:{800 + 3 * WORD_MS}"
    assert (finding.kind, finding.severity, finding.role, finding.alert) == (
        FindingKind.SAID,
        Severity.HIGH,
        Role.AGENT,
        True,
    )
    (span,) = finding.spans
    assert (span.leg, span.segment) == (0, records[0].id)
    assert (span.start_ms, span.end_ms) == (800 + 3 * WORD_MS, 800 + 6 * WORD_MS)
    assert finding.at_ms == span.start_ms
    assert finding.why == "The agent said “guarant* return”."
    assert (finding.rulebook, finding.rulebook_version) == ("a-book", "1.0")


def test_a_phrase_over_two_segments_has_a_span_in_each() -> None:
    first, second = segment(0, 0, "it is risk"), segment(0, 2_000, "free really")
    (finding,) = judged(said("risk free"), [first, second])
    assert [(span.segment, span.start_ms, span.end_ms) for span in finding.spans] == [
        (first.id, 800, 1_200),
        (second.id, 2_000, 2_400),
    ]


@pytest.mark.parametrize(
    ("role", "who"),
    [
        (Role.AGENT, "The agent said"),
        (Role.CUSTOMER, "The customer said"),
        (Role.MIXED, "One of the speakers, who share a leg, said"),
        (Role.UNKNOWN, "A speaker whose role is not known said"),
    ],
)
def test_why_names_the_speaker(role: Role, who: str) -> None:
    (finding,) = judged(said("a b"), [segment(0, 0, "a b", role)])
    assert finding.why == f"{who} “a b”."


# Operators


TURNS = [segment(0, 0, "a b c d e f"), segment(1, 2_800, "b x"), segment(0, 4_000, "g a h")]


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (said("a"), [0, 11]),
        (said("x"), [8]),
        (said("d * f"), [3]),
        (AnyOf((said("x"), said("a b"), said("q"))), [0, 8]),
        (AllOf((said("x"), said("g"))), [8]),
        (AllOf((said("x"), said("q"))), []),
        (AllOf((said("x"), Not(said("q")))), [8]),
        (AllOf((said("x"), Not(said("a")))), []),
        (SpokenBy(Role.CUSTOMER, said("b")), [7]),
        (SpokenBy(Role.CUSTOMER, said("a")), []),
        (Within(2_000, said("(a|e)")), [0, 4]),
        (Within(1_999, said("e")), []),
        (Count(2, said("a")), [0]),
        (Count(3, said("a")), []),
        (Count(2, AnyOf((said("b"), said("x")))), [1]),
        (Near((said("a"), said("d")), words=2), [0]),
        (Near((said("a"), said("d")), words=1), []),
        (Near((said("d"), said("a")), words=2), [0]),
        (Near((said("a"), said("x")), words=20), []),
        (Near((said("x"), said("a")), ms=800), [8]),
        (Near((said("x"), said("f")), ms=799), []),
        (Near((said("x"), said("f")), ms=800), [5]),
        (Near((said("a b"), said("b")), words=9), []),
        (Near((said("c"), said("a"), said("f")), words=2), [0]),
        (Near((said("a"), Not(said("b"))), words=2), [11]),
        (Near((said("e"), said("d"), Not(said("q"))), words=2), [3]),
        (Near((said("b c"), Not(said("a b c"))), words=0), []),
        (Near((Near((said("a"), said("c")), words=1), said("e")), words=1), [0]),
        (SpokenBy(Role.AGENT, AllOf((said("a"), said("g")))), [0]),
    ],
)
def test_an_operator_finds_these_places(condition: Condition, expected: list[int]) -> None:
    records = [*TURNS, leg_ended(0, 6_000), leg_ended(1, 6_000), call_ended(6_000)]
    assert sorted(places(judged(condition, records))) == expected


def test_min_confidence_is_the_mean_over_the_phrases_words() -> None:
    sure, unsure = segment(0, 0, "risk free", confidence=0.8), segment(0, 2_000, "risk free", confidence=0.6)
    judge = judge_of(said("risk free"), min_confidence=0.7)
    assert len(judge.take(sure)) == 1
    assert judge.take(unsure) == []


# Live: nothing is known to be absent before it could have come


def test_a_not_waits_for_the_end_of_the_call() -> None:
    judge = judge_of(AllOf((said("a"), Not(said("q")))))
    assert judge.take(segment(0, 0, "a b")) == []
    assert judge.take(progress(0, 60_000)) == []
    (finding,) = judge.take(call_ended(60_000))
    assert finding.why == "The agent said “a” but not “q”."


def test_a_not_with_a_limit_waits_for_both_legs_to_pass_it() -> None:
    judge = judge_of(AllOf((said("a"), Not(Within(5_000, said("q"))))))
    judge.take(progress(1, 100))
    assert judge.take(segment(0, 0, "a b")) == []
    assert judge.take(progress(0, 9_000)) == []
    assert len(judge.take(progress(1, 5_000))) == 1
    assert judge.take(call_ended(9_000)) == []


@pytest.mark.parametrize("what", ["words", "pause", "progress", "leg end"])
def test_a_not_near_waits_only_for_what_could_be_near(what: str) -> None:
    judge = judge_of(Near((said("guaranteed"), Not(said("not really"))), words=2))
    assert judge.take(segment(0, 0, "it is guaranteed")) == []
    assert judge.take(progress(0, 3_000)) == []
    assert judge.take(progress(1, 60_000)) == []
    last = {
        "words": segment(0, 1_300, "one two three four"),
        "pause": segment(0, 5_000, "not really"),
        "progress": progress(0, 3 * WORD_MS + 2_501),
        "leg end": leg_ended(0, 3_000),
    }[what]
    assert places(judge.take(last)) == [2]


def test_a_negation_that_comes_in_the_next_segment_is_heeded() -> None:
    judge = judge_of(Near((said("guaranteed"), Not(said("not"))), words=2))
    records = [segment(0, 0, "it is guaranteed"), segment(0, 1_300, "not at all"), call_ended(9_000)]
    assert [finding for record in records for finding in judge.take(record)] == []


# Deadlines


def test_what_was_not_said_in_time_is_found_when_the_leg_passes_the_deadline() -> None:
    judge = judge_of(CONSENT)
    assert judge.take(segment(0, 0, "good morning")) == []
    assert judge.take(progress(1, 40_000)) == []
    assert judge.take(progress(0, 29_999)) == []
    (finding,) = judge.take(progress(0, 30_000))
    assert (finding.kind, finding.at_ms, finding.spans, finding.role) == (
        FindingKind.MISSING,
        30_000,
        (),
        Role.AGENT,
    )
    assert finding.id == f"{CALL}:finding:R-1:missing:30000"
    assert finding.why == "The agent did not say “record*” within the first 30 s."
    assert judge.take(progress(0, 31_000)) == []
    assert judge.take(call_ended(40_000)) == []


def test_what_was_missing_is_not_missed_again_when_it_is_said_late() -> None:
    judge = judge_of(CONSENT)
    assert len(judge.take(progress(0, 30_000))) == 1
    assert judge.take(segment(0, 31_000, "being recorded")) == []
    assert judge.take(segment(0, 33_000, "recorded", revision=1)) == []


def test_why_names_a_few_of_many_phrases() -> None:
    forms = AnyOf(
        (
            Near(
                (said("(record|monitor)*"), AnyOf((said("call"), said("line"))), Not(said("not record*"))), words=5
            ),
            said("my {CARD_NUMBER}"),
            said("(a|b) c"),
            said("d"),
            said("e"),
        )
    )
    (finding,) = judged(RequiredBy(30_000, Role.AGENT, forms), [progress(0, 30_000)])
    assert finding.why == (
        "The agent did not say “record*” near “call”, “my {CARD_NUMBER}”, “a c” or the like or 2 other forms "
        "within the first 30 s."
    )
    (finding,) = judged(forms, [segment(0, 0, "this call is monitored now and then"), progress(0, 30_000)])
    assert finding.why == "The agent said “monitor*” within 5 words of “call”."


@pytest.mark.parametrize(("start_ms", "missing"), [(0, False), (29_200, False), (29_201, True), (31_000, True)])
def test_the_words_must_have_ended_by_the_deadline(start_ms: int, missing: bool) -> None:
    records = [segment(0, start_ms, "being recorded"), progress(0, 35_000), call_ended(36_000)]
    assert bool(judged(CONSENT, records)) is missing


def test_the_wrong_speaker_does_not_fulfil_an_obligation() -> None:
    records = [segment(1, 0, "is this recorded"), segment(0, 2_000, "why"), call_ended(40_000)]
    assert len(judged(CONSENT, records)) == 1


def test_a_short_call_is_judged_at_its_end() -> None:
    records: list[RedactedTranscriptRecord] = [segment(0, 0, "good morning"), leg_ended(0, 4_000)]
    assert judged(CONSENT, records) == []
    (finding,) = judged(CONSENT, [*records, leg_ended(1, 4_500), call_ended(4_500)])
    assert finding.at_ms == 4_500
    assert finding.why == "The agent did not say “record*” before the call ended at 4.5 s, with 30 s allowed."


def test_a_leg_that_ends_early_leaves_time_for_the_one_it_transfers_to() -> None:
    third = segment(0, 12_000, "this is recorded")
    third = replace(third, id=third.id + "x", leg=2)
    records = [segment(0, 0, "one moment"), progress(1, 8_000), leg_ended(0, 8_000), third, progress(1, 40_000)]
    assert judged(CONSENT, records) == []


def test_a_call_without_that_role_is_judged_at_its_end() -> None:
    (finding,) = judged(
        CONSENT, [segment(1, 0, "hello"), progress(1, 60_000), leg_ended(1, 60_000), call_ended(60_000)]
    )
    assert "had no leg of the agent" in finding.why


def test_a_call_without_any_leg_is_not_judged() -> None:
    assert judged(CONSENT, [call_ended(0, ())]) == []


# Legs on which nobody knows who speaks


@pytest.mark.parametrize("role", [Role.MIXED, Role.UNKNOWN])
def test_unnamed_speakers_count_as_anyone(role: Role) -> None:
    records = [segment(0, 0, "risk free", role), progress(0, 30_000, role)]
    assert len(judged(SpokenBy(Role.AGENT, said("risk free")), records)) == 1
    assert len(judged(CONSENT, records)) == 1
    assert judged(CONSENT, [segment(0, 0, "being recorded", role), call_ended(50_000)]) == []


@pytest.mark.parametrize("role", [Role.MIXED, Role.UNKNOWN])
def test_unnamed_speakers_can_be_ignored(role: Role) -> None:
    ignore = RulesSettings(unnamed_speakers=UnnamedSpeakers.IGNORE)
    records = [segment(0, 0, "risk free", role), progress(0, 30_000, role), call_ended(50_000)]
    assert judged(SpokenBy(Role.AGENT, said("risk free")), records, ignore) == []
    assert judged(CONSENT, records, ignore) == []


# Once


def test_overlapping_matches_are_one_finding() -> None:
    condition = AnyOf(
        (said("guaranteed return"), said("a guaranteed return"), Near((said("a"), said("x")), words=9))
    )
    assert len(judged(condition, [segment(0, 0, "a guaranteed return x")])) == 1


def test_the_same_words_later_are_another_finding() -> None:
    assert places(judged(said("a b"), [segment(0, 0, "a b c a b")])) == [0, 3]


def test_a_segment_that_comes_again_finds_nothing_again() -> None:
    first = segment(0, 0, "it is risk free")
    assert len(judged(said("risk free"), [first, first, segment(0, 0, "it is risk free", revision=1)])) == 1


def test_a_revision_replaces_the_words() -> None:
    judge = judge_of(said("risk free"), AllOf((said("end"), Not(said("bad")))))
    assert judge.take(segment(0, 0, "it is bad free")) == []
    assert len(judge.take(segment(0, 0, "it is risk free", revision=1))) == 1
    assert judge.take(segment(0, 0, "it is bad free")) == [], "An older revision is ignored."
    assert [
        finding.rule for finding in [*judge.take(segment(0, 3_000, "end")), *judge.take(call_ended(9_000))]
    ] == ["R-2"]


def test_a_revision_that_moves_a_word_does_not_double_its_finding() -> None:
    first = segment(0, 0, "it is risk free")
    moved = tuple(replace(word, start_ms=word.start_ms + 60, end_ms=word.end_ms + 60) for word in first.words)
    assert len(judged(said("risk free"), [first, replace(first, words=moved, revision=1)])) == 1


def test_a_segment_that_comes_late_takes_its_place() -> None:
    late = [segment(0, 1_200, "free money"), segment(0, 0, "it is risk")]
    assert places(judged(said("risk free"), late)) == [2]


def test_partial_segments_are_not_judged() -> None:
    partial = replace(segment(0, 0, "risk free"), status=SegmentStatus.PARTIAL)
    assert judged(said("risk free"), [partial]) == []


def test_findings_of_a_rule_are_bounded() -> None:
    records = [segment(0, number * 1_000, "risk free") for number in range(50)]
    assert len(judged(said("risk free"), records, RulesSettings(most_findings_per_rule=7))) == 7


# Replay


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32))
def test_the_same_records_give_the_same_findings_and_split_segments_the_same_places(seed: int) -> None:
    dice = random.Random(seed)
    words = [dice.choice(["a", "b", "c", "d", "e", "not"]) for _ in range(60)]
    conditions: list[Condition] = [
        said("a b"),
        Near((said("a"), said("d"), Not(said("not"))), words=3),
        AllOf((said("a a"), Not(said("e e")))),
        Count(3, said("c")),
        Within(8_000, said("d")),
    ]

    def records(pieces: int) -> list[RedactedTranscriptRecord]:
        cuts = [0, *sorted(dice.sample(range(1, len(words)), pieces)), len(words)]
        made: list[RedactedTranscriptRecord] = []
        for begin, end in itertools.pairwise(cuts):
            made += [segment(0, begin * WORD_MS, " ".join(words[begin:end])), progress(0, end * WORD_MS)]
        return [*made, leg_ended(0, 30_000), call_ended(30_000, (0,))]

    for condition in conditions:
        split = records(dice.randint(0, 12))
        assert judged(condition, split) == judged(condition, split)
    for condition in conditions[:2]:
        one, many = judged(condition, records(0)), judged(condition, records(10))
        assert {(finding.id, finding.why) for finding in one} == {(finding.id, finding.why) for finding in many}


@pytest.mark.parametrize("late", [progress(1, 4_000_000), leg_ended(1, 4_000_000)], ids=["progress", "end"])
def test_a_leg_that_is_heard_of_in_one_great_step_is_not_too_late(late: RedactedTranscriptRecord) -> None:
    judge = judge_of(Near((said("risk free"), Not(said("trial"))), ms=10_000))
    before = [progress(1, 100), segment(0, 100_000, "risk free"), progress(0, 4_000_000), leg_ended(0, 4_000_000)]
    assert [finding for record in before for finding in judge.take(record)] == []
    assert len(judge.take(late)) == 1


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32))
def test_what_lies_far_back_need_not_be_looked_at_again(seed: int) -> None:
    """A long call gives the same findings as a judge that looks at all of it each time."""
    dice = random.Random(seed)
    near = Near((said("a"), said("d"), Not(said("not"))), words=2)
    local = AnyOf((near, Near((said("b c"), said("e")), ms=5_000), Within(200_000, said("a b"))))
    assert reach_ms(local, 2_500) is not None
    records: list[RedactedTranscriptRecord] = []
    now_ms = 0
    while now_ms < 1_500_000:
        leg = dice.randint(0, 1)
        words = dice.choices(["a", "b", "c", "d", "e", "not", "x", "y", "z"], k=dice.randint(1, 12))
        piece = segment(leg, now_ms, " ".join(words))
        now_ms = piece.end_ms + dice.choice([0, 500, 3_000, 60_000])
        records += [piece, *(progress(leg, now_ms) for leg in (0, 1) if dice.random() < 0.5)]
    records += [leg_ended(0, now_ms), leg_ended(1, now_ms), call_ended(now_ms)]
    # `all` holds the whole call, so inside of it everything is looked at; what it finds is the first match.
    everything = judged(AnyOf((local, AllOf((said("q"),)))), records)
    assert reach_ms(AnyOf((local, AllOf((said("q"),)))), 2_500) is None
    found = judged(local, records)
    assert found
    assert [finding.id for finding in found] == [finding.id for finding in everything]


def test_settings_are_checked() -> None:
    with pytest.raises(ValueError, match="pause"):
        RulesSettings(longest_pause_ms=0)
