"""Sessions on the demo call's voices: what is heard, and that neither cutting nor taking over changes it."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from events.transcript import SegmentStatus, Word
from recognizer.beam_search import HypothesisWord
from recognizer.endpoint import EndpointSettings
from recognizer.recogniser import Recogniser, RecogniserSettings
from recognizer.session import Place, RecognitionSession, Utterance, hear_together, needed_from
from tests.builders.small_recogniser import demo_audio, small_recogniser, turns

BLOCK = 800


@pytest.fixture(scope="module")
def recogniser() -> Recogniser:
    return small_recogniser()


@pytest.fixture(scope="module")
def audio() -> np.ndarray:
    return demo_audio("agent")[: 8000 * 26 + 123]


@pytest.fixture(scope="module")
def heard(recogniser: Recogniser, audio: np.ndarray) -> list[Utterance]:
    return told(RecognitionSession(recogniser), np.split(audio, range(BLOCK, len(audio), BLOCK)))


def told(session: RecognitionSession, pieces: Iterable[np.ndarray]) -> list[Utterance]:
    utterances = [utterance for piece in pieces for utterance in session.accept(piece)]
    return utterances + session.finish()


def finals(utterances: list[Utterance]) -> list[Utterance]:
    return [utterance for utterance in utterances if utterance.status is SegmentStatus.FINAL]


def words(utterances: list[Utterance]) -> list[Word]:
    return [word for utterance in finals(utterances) for word in utterance.words]


@pytest.mark.parametrize("voice", ["agent", "customer"])
def test_a_voice_is_recognised(recogniser: Recogniser, voice: str) -> None:
    recognised = [word.text for word in words(told(RecognitionSession(recogniser), [demo_audio(voice)]))]
    known = {word for turn in turns() for word in turn}
    assert set(recognised) <= known
    dialogue = [word for turn in turns() for word in turn]
    said = difflib.SequenceMatcher(None, dialogue, recognised, autojunk=False)
    agreeing = sum(block.size for block in said.get_matching_blocks())
    assert agreeing >= 0.85 * len(recognised) > 20


def test_utterances_follow_each_other(heard: list[Utterance]) -> None:
    ends = 0
    for utterance in finals(heard):
        assert ends <= utterance.first_sample < utterance.end_sample
        assert utterance.first_sample // 8 <= utterance.words[0].start_ms
        times = [time for word in utterance.words for time in (word.start_ms, word.end_ms)]
        assert times == sorted(times)
        assert times[-1] <= utterance.end_sample // 8
        assert all(0 < word.confidence <= 1 for word in utterance.words)
        ends = utterance.end_sample


def test_partials_lead_to_the_final(heard: list[Utterance]) -> None:
    for final in finals(heard):
        versions = [u.revision for u in heard if u.first_sample == final.first_sample]
        assert versions == list(range(len(versions)))
        assert len(versions) > 3
    partials = [u for u in heard if u.status is SegmentStatus.PARTIAL]
    news = [(u.first_sample, u.text, u.stable_words) for u in partials]
    assert all(a != b for a, b in itertools.pairwise(news))


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, 20_000), max_size=40))
def test_any_split_of_the_audio_gives_the_same(
    recogniser: Recogniser, audio: np.ndarray, heard: list[Utterance], sizes: list[int]
) -> None:
    cuts = np.cumsum(sizes)
    assert told(RecognitionSession(recogniser), np.split(audio, cuts[cuts < len(audio)])) == heard


def test_a_successor_tells_the_same(recogniser: Recogniser, audio: np.ndarray, heard: list[Utterance]) -> None:
    session = RecognitionSession(recogniser)
    places = {Place(0)}
    for first in range(0, len(audio), BLOCK):
        session.accept(audio[first : first + BLOCK])
        places.add(session.place)
    assert len(places) > len(finals(heard)) > 2
    for place in places:
        start = place.first_sample
        needed = needed_from(recogniser, 0, start)
        assert max(0, start - 8 * (6000 + 30 * 40)) <= needed <= start
        for heard_from in {needed, max(0, needed - 777), 0}:
            successor = RecognitionSession(recogniser, 0, place, heard_from)
            rest = audio[heard_from:]
            again = told(successor, np.split(rest, range(BLOCK, len(rest), BLOCK)))
            assert again == [utterance for utterance in heard if utterance.first_sample >= start]


def test_a_leg_that_joins_late_counts_from_there(
    recogniser: Recogniser, audio: np.ndarray, heard: list[Utterance]
) -> None:
    late = finals(told(RecognitionSession(recogniser, origin_sample=80_000), [audio]))
    assert [u.text for u in late] == [u.text for u in finals(heard)]
    assert [u.first_sample - 80_000 for u in late] == [u.first_sample for u in finals(heard)]
    assert [w.start_ms - 10_000 for w in words(late)] == [w.start_ms for w in words(heard)]


def test_progress_never_goes_beyond_what_is_still_to_be_told(recogniser: Recogniser, audio: np.ndarray) -> None:
    session, settled = RecognitionSession(recogniser), 0
    for first in range(0, len(audio), BLOCK):
        for utterance in finals(session.accept(audio[first : first + BLOCK])):
            assert utterance.words[0].start_ms >= settled
        assert settled <= session.settled_ms <= session.end_sample // 8
        settled = session.settled_ms
    assert all(u.words[0].start_ms >= settled for u in finals(session.finish()))
    assert session.settled_ms == session.end_sample // 8


def test_a_silent_leg_goes_on_without_words(recogniser: Recogniser) -> None:
    session = RecognitionSession(recogniser)
    noise = np.random.default_rng(1).standard_normal(8000 * 30).astype(np.float32) * 1e-4
    noise[8000 * 10 : 8000 * 20] = 0
    assert [u for first in range(0, len(noise), BLOCK) for u in session.accept(noise[first : first + BLOCK])] == []
    assert session.settled_ms > 28_500
    assert session.place.first_sample > 8 * 24_000
    assert session.finish() == []


def test_endpoints_reset_neither_features_nor_network(recogniser: Recogniser, audio: np.ndarray) -> None:
    session, given_to_search = RecognitionSession(recogniser), []
    network, tell = session.network, session.tell

    def noted(scores: np.ndarray) -> list[Utterance]:
        given_to_search.append(scores)
        return tell(scores)

    session.tell = noted  # type: ignore[method-assign]
    assert len(finals(told(session, np.split(audio, range(BLOCK, len(audio), BLOCK))))) > 2
    assert session.network is network
    whole = recogniser.model.stream().accept(recogniser.model.features().accept(audio))
    np.testing.assert_array_equal(np.concatenate(given_to_search), whole)


def test_sessions_heard_together_tell_what_each_tells_alone(recogniser: Recogniser, audio: np.ndarray) -> None:
    voices = [audio, np.roll(audio, 40_000), demo_audio("customer")[: len(audio)]]
    alone = [told(RecognitionSession(recogniser), np.split(v, range(BLOCK, len(v), BLOCK))) for v in voices]
    sessions = [RecognitionSession(recogniser) for _ in voices]
    together: list[list[Utterance]] = [[] for _ in voices]
    for first in range(0, len(audio), BLOCK):
        pieces = [voice[first : first + BLOCK] for voice in voices]
        for mine, new in zip(together, hear_together(sessions, pieces), strict=True):
            mine += new
    for mine, session in zip(together, sessions, strict=True):
        mine += session.finish()
    assert together == alone


@pytest.mark.parametrize("samples", [0, 1, 199, 200, 5000])
def test_a_leg_shorter_than_a_word_ends_well(recogniser: Recogniser, samples: int) -> None:
    session = RecognitionSession(recogniser)
    assert told(session, [np.zeros(samples, np.float32)]) == []
    assert session.settled_ms == samples // 8


def test_speech_without_pause_is_cut_between_words(recogniser: Recogniser, audio: np.ndarray) -> None:
    impatient = EndpointSettings(
        sentence_end_silence_ms=990, pause_silence_ms=990, long_pause_silence_ms=990,
        nothing_said_ms=1500, longest_utterance_ms=1500,
    )  # fmt: skip
    hasty = small_recogniser(RecogniserSettings(endpoint=impatient))
    cut = finals(told(RecognitionSession(hasty), [audio]))
    whole = finals(told(RecognitionSession(recogniser), [audio]))
    assert len(cut) > 2 * len(whole)
    assert all(u.end_sample - u.first_sample <= 8 * 1620 for u in cut)
    texts = ([word.text for word in words(utterances)] for utterances in (cut, whole))
    assert difflib.SequenceMatcher(None, *texts, autojunk=False).ratio() > 0.7


def test_the_cut_lies_in_the_longest_late_pause(recogniser: Recogniser) -> None:
    spans = [(0, 10), (40, 50), (52, 60), (66, 70), (76, 80), (81, 90)]
    search, scores = recogniser.search(), np.zeros((90, recogniser.model.pdfs), np.float32)
    search.advance(scores)

    class Fixed(Recogniser):
        def finalise(self, hypothesis, search, scores):  # type: ignore[no-untyped-def]
            timed = tuple(HypothesisWord("word", start, end) for start, end in spans)
            return type(hypothesis)(timed, (3,) * 6, 0.0, 90, False, (0,) * 6)

    fixed = Fixed.__new__(Fixed)
    before, frame = fixed.cut(search, scores)
    assert frame == 73
    assert len(before.words) == len(before.word_ids) == 4


def test_settings_are_checked() -> None:
    with pytest.raises(ValueError, match="negative"):
        RecogniserSettings(carried_frames=-1)
    with pytest.raises(ValueError, match="settle margin"):
        RecogniserSettings(settle_margin_ms=6000)
