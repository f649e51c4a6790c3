"""A second recogniser behind its protocol: made ones stand for what is not to be had here, a real model of Vosk."""

from __future__ import annotations

import math
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from console.chosen_model import ModelNotUsable, told_in_one_sentence
from events import metrics
from events.transcript import SegmentStatus, Word
from recognizer.heard_audio import HeardAudio
from recognizer.recogniser import RecogniserSettings
from recognizer.second_recogniser import (
    SecondRecogniserError,
    SecondRecogniserSettings,
    open_second_recogniser,
    second_opinion,
)
from recognizer.session import Place, RecognitionSession, Utterance, needed_from
from tests.builders.small_recogniser import demo_audio, small_recogniser

ALWAYS = RecogniserSettings(second_recogniser=SecondRecogniserSettings(below_confidence=1.0, margin=0.0))
BLOCK = 800
OURS = (Word("ours", 1000, 1200, 0.5), Word("too", 1200, 1400, 0.7))


class Fingerprint:
    """Says one word that stands for all samples it was given, so that whoever hears others says another."""

    def __init__(self, confidence: float = 1.0) -> None:
        self.asked: list[tuple[int, np.ndarray]] = []
        self._confidence = confidence

    def words(self, samples: np.ndarray, first_sample: int) -> tuple[Word, ...]:
        self.asked.append((first_sample, samples))
        start = first_sample // 8 + 100
        return (Word(f"f{zlib.crc32(samples.tobytes())}", start, start + 200, self._confidence),)


class Saying:
    def __init__(self, *words: Word) -> None:
        self._words = words

    def words(self, samples: np.ndarray, first_sample: int) -> tuple[Word, ...]:
        return self._words


class Failing:
    def words(self, samples: np.ndarray, first_sample: int) -> tuple[Word, ...]:
        raise RuntimeError("my number is four four two")


@pytest.fixture(scope="module")
def audio() -> np.ndarray:
    return demo_audio("agent")[: 8000 * 26 + 123]


def told(session: RecognitionSession, audio: np.ndarray, block: int = BLOCK) -> list[Utterance]:
    pieces = np.split(audio, range(block, len(audio), block))
    return [utterance for piece in pieces for utterance in session.accept(piece)] + session.finish()


def finals(utterances: Sequence[Utterance]) -> list[Utterance]:
    return [utterance for utterance in utterances if utterance.status is SegmentStatus.FINAL]


def test_it_hears_each_utterance_whole_however_the_leg_came_and_whoever_asks(audio: np.ndarray) -> None:
    other = Fingerprint()
    recogniser = small_recogniser(ALWAYS, other)
    session, heard, places = RecognitionSession(recogniser), [], {Place(0)}
    for first in range(0, len(audio), BLOCK):
        heard += session.accept(audio[first : first + BLOCK])
        places.add(session.place)
    heard += session.finish()
    plain = finals(told(RecognitionSession(small_recogniser()), audio))
    assert [(u.first_sample, u.end_sample) for u in finals(heard)] == [
        (u.first_sample, u.end_sample) for u in plain
    ]
    assert len(other.asked) == len(plain) > 2
    for utterance, (first, samples) in zip(finals(heard), other.asked, strict=True):
        assert first == utterance.first_sample
        np.testing.assert_array_equal(samples, audio[first : utterance.end_sample])
        assert utterance.text.startswith("f")
    assert finals(told(RecognitionSession(recogniser), audio, 7777)) == finals(heard)
    for place in places:
        needed = needed_from(recogniser, 0, place.first_sample)
        again = told(RecognitionSession(recogniser, 0, place, needed), audio[needed:])
        assert again == [utterance for utterance in heard if utterance.first_sample >= place.first_sample]


def test_only_what_is_unsure_is_asked_and_only_what_is_surer_is_taken(audio: np.ndarray) -> None:
    for below, wanted in ((0.0, False), (0.6, False), (0.61, True), (1.0, True)):
        assert SecondRecogniserSettings(below_confidence=below).wanted(OURS) is wanted
        assert not SecondRecogniserSettings(below_confidence=below).wanted(())
    theirs = (Word("theirs", 1000, 1400, 0.75),)
    for margin, taken in ((0.1, True), (0.2, False)):
        chosen = SecondRecogniserSettings(margin=margin)
        found = second_opinion(OURS, Saying(*theirs), chosen, np.zeros(8000, np.float32), 8000, 0)
        assert found == (theirs if taken else OURS)
    other, some = Fingerprint(), audio[: 8 * 8000]
    recogniser = small_recogniser(RecogniserSettings(second_recogniser=SecondRecogniserSettings()), other)
    plain = told(RecognitionSession(small_recogniser()), some)
    assert all(word.confidence > 0.9 for word in finals(plain)[0].words)
    assert told(RecognitionSession(recogniser), some) == plain
    assert other.asked == []


def test_a_failure_costs_its_opinion_only_and_no_word_of_it_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    before = metrics.counted(metrics.SECOND_OPINIONS, outcome="failed")
    assert second_opinion(OURS, Failing(), ALWAYS.second_recogniser, np.zeros(8000, np.float32), 8000, 0) == OURS
    assert metrics.counted(metrics.SECOND_OPINIONS, outcome="failed") == before + 1
    assert "RuntimeError" in caplog.text
    assert "four" not in caplog.text


@pytest.mark.parametrize("nothing", [(), (Word(" ", 0, 1, 1.0),), (Word("nan", 1000, 1100, math.nan),)])
def test_who_says_nothing_is_not_believed(nothing: tuple[Word, ...]) -> None:
    other = Saying(*nothing)
    assert second_opinion(OURS, other, ALWAYS.second_recogniser, np.zeros(8000, np.float32), 8000, 0) == OURS


TIMES = st.integers(-(10**6), 10**6)


@given(
    st.lists(st.builds(Word, st.sampled_from(["A", "b "]), TIMES, TIMES, st.floats(0.9, 9))),
    st.integers(900, 1500),
)
def test_its_words_lie_in_order_within_the_utterance(words: list[Word], settled_ms: int) -> None:
    found = second_opinion(
        OURS, Saying(*words), ALWAYS.second_recogniser, np.zeros(8000, np.float32), 8000, settled_ms
    )
    if not words:
        assert found == OURS
        return
    times = [time for word in found for time in (word.start_ms, word.end_ms)]
    assert times == sorted(times)
    assert settled_ms <= times[0] <= times[-1] <= 2000
    assert all(word.text in ("a", "b") and word.confidence <= 1 for word in found)


def test_no_more_than_an_utterance_is_kept() -> None:
    session = RecognitionSession(small_recogniser(ALWAYS, Fingerprint()))
    noise = np.random.default_rng(1).standard_normal(8000 * 30).astype(np.float32) * 1e-4
    most = 0
    for first in range(0, len(noise), BLOCK):
        session.accept(noise[first : first + BLOCK])
        assert session._audio is not None
        most = max(most, session._audio.samples)
    assert 8000 < most < 8 * 6000
    without = RecognitionSession(small_recogniser(ALWAYS))
    assert without._audio is None


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 50))
def test_kept_samples_are_those_of_the_leg(seed: int, origin: int) -> None:
    rng = np.random.default_rng(seed)
    leg = np.arange(1, 400, dtype=np.float32)
    kept, at, forgotten = HeardAudio(), 0, origin
    while at < len(leg):
        block = leg[at : at + rng.integers(0, 60)].copy()
        kept.append(origin + at, block)
        at += len(block)
        block[:] = -1  # whose array it was may use it again
        if rng.random() < 0.5:
            forgotten = int(rng.integers(forgotten, origin + at + 1))
            kept.forget_before(forgotten)
            assert kept.samples <= origin + at - forgotten + 60
        first = int(rng.integers(forgotten, forgotten + 70))
        end = int(rng.integers(first - 3, first + 100))
        wanted = np.zeros(max(0, end - first), np.float32)
        inside = leg[first - origin : max(0, min(end - origin, at))]
        wanted[: len(inside)] = inside
        np.testing.assert_array_equal(kept.between(first, end), wanted)


@pytest.mark.parametrize(
    "wrong", [{"kind": "vosk"}, {"below_confidence": 1.5}, {"margin": -0.1}, {"margin": math.nan}]
)
def test_wrong_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"\.$"):
        SecondRecogniserSettings(**wrong)  # type: ignore[arg-type]


def test_what_is_not_installed_is_said_in_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert open_second_recogniser(SecondRecogniserSettings()) is None
    chosen = SecondRecogniserSettings("vosk", tmp_path / "model")
    with pytest.raises(SecondRecogniserError, match=r"^There is no folder model with a model for vosk\.$"):
        open_second_recogniser(chosen)
    for name in ("am/final.mdl", "conf/model.conf", "conf/mfcc.conf"):
        (tmp_path / "model" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "model" / name).write_text("--sample-frequency=8000\n")
    monkeypatch.setitem(sys.modules, "vosk", None)
    with (
        pytest.raises(ModelNotUsable, match=r"^The second recogniser needs vosk, which is not installed: pip "),
        told_in_one_sentence(),
    ):
        open_second_recogniser(chosen)
