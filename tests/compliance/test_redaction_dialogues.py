"""Laws over generated dialogues: whoever reads a number, however, no digit of it comes through in any version."""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from compliance.redaction.redactor import CallRedactor
from compliance.redaction.settings import RedactionSettings, Strength
from events.transcript import (
    CallTranscriptEnded,
    LegProgress,
    LegTranscriptEnded,
    PiiKind,
    RawTranscriptRecord,
    SegmentStatus,
    TranscriptSegment,
)
from tests.compliance.redaction_dialogues import (
    AFTER,
    AGENT,
    CUSTOMER,
    Dialogue,
    Mark,
    Utterance,
    card_dialogue,
    finders,
    leaked,
    luhn_number,
    records,
    redacted,
    said,
    segments_of,
    speak,
    split,
    wrongly_hidden,
)

seeds = st.integers(0, 2**32 - 1)
# Derandomised: the same dialogues on every machine; the bench counts leaks over thousands of others.
ample = settings(max_examples=30, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def check(dialogue: Dialogue, rng: random.Random, strength: Strength) -> list[RawTranscriptRecord]:
    raw = records(dialogue, rng)
    segments = segments_of(redacted(raw, RedactionSettings(strength=strength)))
    assert leaked(dialogue, segments) == []
    assert wrongly_hidden(dialogue, segments) == []
    return raw


@pytest.mark.parametrize("strength", [Strength.VALUES, Strength.PROBABLE_NUMBERS])
@given(seed=seeds, asked=st.booleans(), read_back=st.booleans(), length=st.sampled_from([14, 15, 16, 16, 19]))
@ample
def test_no_digit_of_a_card_number_survives(
    strength: Strength, seed: int, asked: bool, read_back: bool, length: int
) -> None:
    rng = random.Random(seed)
    check(card_dialogue(rng, luhn_number(rng, length), asked=asked, read_back=read_back), rng, strength)


@pytest.mark.parametrize("strength", [Strength.VALUES, Strength.PROBABLE_NUMBERS])
@given(seed=seeds, asked=st.booleans(), read_back=st.booleans())
@ample
def test_one_recognition_error_does_not_show_the_rest(
    strength: Strength, seed: int, asked: bool, read_back: bool
) -> None:
    rng = random.Random(seed)
    check(card_dialogue(rng, luhn_number(rng), asked=asked, read_back=read_back, errors=1), rng, strength)


@given(seed=seeds)
@ample
def test_three_recognition_errors_do_not_show_a_number_that_was_asked_for(seed: int) -> None:
    rng = random.Random(seed)
    check(card_dialogue(rng, luhn_number(rng), asked=True, errors=3), rng, Strength.PROBABLE_NUMBERS)


@given(seed=seeds)
@ample
def test_long_pauses_do_not_show_a_number_that_was_asked_for(seed: int) -> None:
    rng = random.Random(seed)
    dialogue = card_dialogue(rng, luhn_number(rng), asked=True, read_back=True, most_gap_ms=7_000)
    check(dialogue, rng, Strength.VALUES)


QUESTIONS = {
    PiiKind.VERIFICATION_CODE: ("what are the three digits on the back", "and the c v v please", "security code"),
    PiiKind.SSN: ("what is your social security number", "can i get your full social"),
    PiiKind.PHONE_NUMBER: ("what is the best phone number to reach you", "and your cell number please"),
}
LENGTHS = {PiiKind.VERIFICATION_CODE: (3, 4), PiiKind.SSN: (9,), PiiKind.PHONE_NUMBER: (10,)}


@pytest.mark.parametrize("kind", list(QUESTIONS))
@given(seed=seeds)
@ample
def test_other_numbers_that_are_asked_for_are_hidden_by_kind(kind: PiiKind, seed: int) -> None:
    rng = random.Random(seed)
    digits = "".join(str(rng.randrange(1, 10)) for _ in range(rng.choice(LENGTHS[kind])))
    dialogue = Dialogue(
        [
            said(AGENT, rng.choice(QUESTIONS[kind])),
            *split(speak(digits, rng, corrected=0), rng, CUSTOMER, 1500),
            said(AGENT, AFTER[0], gap_ms=900),
        ]
    )
    raw = check(dialogue, rng, Strength.VALUES)
    spans = [
        span for s in segments_of(redacted(raw, RedactionSettings(strength=Strength.VALUES))) for span in s.spans
    ]
    assert {span.kind for span in spans} == {kind}


@given(seed=seeds, errors=st.integers(0, 1))
@ample
def test_spans_cover_every_hidden_word_and_what_lies_between(seed: int, errors: int) -> None:
    rng = random.Random(seed)
    raw = records(card_dialogue(rng, luhn_number(rng), asked=True, errors=errors), rng)
    source = {record.id: record for record in raw if isinstance(record, TranscriptSegment)}
    for segment in segments_of(redacted(raw)):
        shown = {word.start_ms for word in segment.words if not word.text.startswith("[")}
        for word in source[segment.id].words:
            covered = any(span.start_ms <= word.start_ms and word.end_ms <= span.end_ms for span in segment.spans)
            assert covered or word.start_ms in shown
        placeholders = [word for word in segment.words if word.text.startswith("[")]
        assert len(placeholders) == len(segment.spans)
        for word, span in zip(placeholders, segment.spans, strict=True):
            assert word.text == span.kind.placeholder
            assert span.start_ms <= word.start_ms
            assert word.end_ms <= span.end_ms


@given(seed=seeds, asked=st.booleans())
@ample
def test_order_within_each_leg_is_kept_and_nothing_overtakes_a_segment(seed: int, asked: bool) -> None:
    rng = random.Random(seed)
    raw = records(card_dialogue(rng, luhn_number(rng), asked=asked, errors=1), rng)
    out = redacted(raw)
    for leg in (AGENT, CUSTOMER):
        came = [_name(record) for record in raw if getattr(record, "leg", None) == leg]
        went = [
            _name(record) for record in out if getattr(record, "leg", None) == leg and _first_version(record, raw)
        ]
        assert went == came
    assert isinstance(out[-1], CallTranscriptEnded)


def _first_version(record: object, raw: list[RawTranscriptRecord]) -> bool:
    return getattr(record, "revision", 0) == 0


def _name(record: object) -> tuple[object, ...]:
    if isinstance(record, LegProgress):
        return ("progress", record.up_to_ms)
    if isinstance(record, LegTranscriptEnded):
        return ("ended", record.end_ms)
    return ("segment", getattr(record, "id", None))


@given(seed=seeds)
@ample
def test_a_replay_makes_the_same_records(seed: int) -> None:
    rng = random.Random(seed)
    raw = records(card_dialogue(rng, luhn_number(rng), asked=False, errors=2, most_gap_ms=6_000), rng)
    assert redacted(raw) == redacted(raw)


@given(seed=seeds)
@ample
def test_what_was_hidden_stays_hidden_in_later_versions(seed: int) -> None:
    rng = random.Random(seed)
    raw = records(card_dialogue(rng, luhn_number(rng), asked=False, most_gap_ms=7_500), rng)
    shown: dict[str, set[int]] = {}
    versions: dict[str, int] = {}
    for segment in segments_of(redacted(raw, RedactionSettings(strength=Strength.VALUES))):
        now = {word.start_ms for word in segment.words if not word.text.startswith("[")}
        if segment.id in shown:
            assert now <= shown[segment.id]
            assert segment.revision == versions[segment.id] + 1
        shown[segment.id], versions[segment.id] = now, segment.revision


def partials_of(segment: TranscriptSegment, rng: random.Random) -> list[TranscriptSegment]:
    """Return growing partial versions of a final segment."""
    made = []
    for revision, count in enumerate(range(1, len(segment.words) + 1)):
        words = segment.words[:count]
        made.append(
            TranscriptSegment(
                segment.id, segment.call, segment.leg, segment.role, SegmentStatus.PARTIAL, segment.first_sample,
                segment.start_ms, words[-1].end_ms, words, revision,
            )
        )  # fmt: skip
    return made


@given(seed=seeds, asked=st.booleans())
@ample
def test_partials_show_no_digit_of_a_card_number(seed: int, asked: bool) -> None:
    rng = random.Random(seed)
    dialogue = card_dialogue(rng, luhn_number(rng), asked=asked, read_back=True)
    redactor = CallRedactor(RedactionSettings(), finders(RedactionSettings()))
    shown = []
    for record in records(dialogue, rng):
        if isinstance(record, TranscriptSegment):
            shown += [redactor.take_partial(partial) for partial in partials_of(record, rng)]
        redactor.take(record)
    seen = leaked(dialogue, [partial for partial in shown if partial is not None])
    assert len(set(seen)) <= 2


def test_the_generator_marks_what_it_says() -> None:
    """The laws above would hold for a generator that says nothing: it does say the number."""
    rng = random.Random(1)
    dialogue = card_dialogue(rng, "4242424242424242", asked=True)
    raw = records(dialogue, rng)
    assert sum(mark is Mark.VALUE for mark in dialogue.marks.values()) >= 8
    assert sum(mark is Mark.OUTSIDE for mark in dialogue.marks.values()) >= 20
    assert sum(len(record.words) for record in raw if isinstance(record, TranscriptSegment)) == len(dialogue.marks)
    assert isinstance(dialogue.utterances[0], Utterance)
