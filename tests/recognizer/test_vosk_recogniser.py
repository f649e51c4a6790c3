"""Vosk behind the session's protocol: the real package's errors, its results, and a model where there is one."""

from __future__ import annotations

import itertools
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from events.transcript import SegmentStatus, Word
from recognizer.second_recogniser import SecondRecogniser
from recognizer.session import RecognitionSession, Utterance
from recognizer.vosk_recogniser import PIECE_SAMPLES, VoskError, VoskRecogniser, VoskSession, words_of

needs_vosk = pytest.mark.usefixtures("_vosk")
MODEL_VARIABLE = "CALLWARDEN_VOSK_MODEL"


@pytest.fixture
def _vosk() -> None:
    pytest.importorskip(
        "vosk", reason="needs the extra vosk: pip install 'callwarden[vosk]'", exc_type=ImportError
    )


def laid_out(folder: Path, rate: str = "--sample-frequency=8000\n") -> Path:
    for name, content in {"am/final.mdl": "no model", "conf/model.conf": "", "conf/mfcc.conf": rate}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return folder


def test_a_folder_that_is_not_there_or_no_model_is_told_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(VoskError, match=r"^There is no folder away with a model for vosk\.$"):
        VoskRecogniser(tmp_path / "away")
    (tmp_path / "model").mkdir()
    with pytest.raises(VoskError, match=r"^The folder model is no model for vosk: it lacks am/final\.mdl\.$"):
        VoskRecogniser(tmp_path / "model")
    laid_out(tmp_path / "model", "--sample-frequency=44100\n")
    with pytest.raises(
        VoskError, match=r"^The model for vosk wants 44100 samples a second; 8000 and 16000 can be"
    ):
        VoskRecogniser(tmp_path / "model")


@needs_vosk
@pytest.mark.vosk
def test_a_model_that_vosk_cannot_read_is_told_in_one_sentence(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(VoskError, match=r"^The folder model holds no model that vosk can read\.$"):
        VoskRecogniser(laid_out(tmp_path / "model"))
    assert "no model" not in capfd.readouterr().err.replace("model.cc", "")


def test_what_it_would_hang_beside_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kaldifst", sys)
    monkeypatch.delitem(sys.modules, "vosk", raising=False)
    with pytest.raises(VoskError, match=r"^Vosk cannot be loaded into a process that has kaldifst loaded\.$"):
        VoskRecogniser(laid_out(tmp_path / "model"))


@needs_vosk
@pytest.mark.vosk
def test_the_real_package_has_what_is_called() -> None:
    import vosk

    for name in ("AcceptWaveform", "Result", "PartialResult", "FinalResult", "SetWords", "SetPartialWords"):
        assert callable(getattr(vosk.KaldiRecognizer, name))


def result(*words: tuple[str, float, float, float]) -> str:
    """A result in the form that Vosk's documentation shows."""
    entries = [{"conf": conf, "end": end, "start": start, "word": word} for word, start, end, conf in words]
    return json.dumps({"result": entries, "text": " ".join(word for word, *_ in words)})


def test_words_get_call_times_and_confidences() -> None:
    told = result(("good", 0.12, 0.48, 0.98765), ("morning", 0.48, 1.02, 1.0))
    assert words_of(told, 16_000, 80_000) == (Word("good", 2120, 2480, 0.9877), Word("morning", 2480, 3020, 1.0))


@pytest.mark.parametrize(
    "told", ["", "null", "[]", "{", '{"text": ""}', '{"partial": "good"}', '{"result": 3}', '{"result": [{}]}',
             '{"result": [{"word": "a", "start": "x", "end": 1}]}',
             '{"result": [{"word": "a", "start": 1e999, "end": 1}]}']
)  # fmt: skip
def test_what_holds_no_words_is_none(told: str) -> None:
    assert words_of(told, 0, 8000) == ()


def test_marks_are_no_words() -> None:
    told = result(("[unk]", 0.1, 0.2, 1.0), ("<unk>", 0.2, 0.3, 1.0), ("yes", 0.3, 0.4, 0.5))
    assert [word.text for word in words_of(told, 0, 8000)] == ["yes"]


def test_as_a_second_recogniser_it_hears_an_utterance_in_a_decoder_of_its_own() -> None:
    made: list[_Spoken] = []

    class Made(VoskRecogniser):
        sample_rate_hz = 8000

        def __init__(self) -> None:  # there is no model here
            pass

        def _decoder(self) -> _Spoken:
            made.append(_Spoken())
            return made[-1]

    audio = np.where(np.arange(7000) % 2000 < 900, 0.5, 0.0).astype(np.float32)
    recogniser: SecondRecogniser = Made()
    first, again = recogniser.words(audio, 16_000), recogniser.words(audio, 16_000)
    assert first == again != ()
    assert len(made) == 2
    assert all(2000 <= word.start_ms <= word.end_ms <= 2875 and word.confidence == 0.75 for word in first)
    assert b"".join(made[0].given) == np.rint(audio * 32768).astype("<i2").tobytes()


def test_times_stay_in_order_and_within_the_audio() -> None:
    told = result(("a", 0.5, 0.4, 2.0), ("b", 0.3, 9.0, -1.0), ("c", 5.0, 6.0, float("nan")))
    assert words_of(told, 0, 8000) == (Word("a", 500, 500, 1.0), Word("b", 500, 1000, 0.0))


class _Spoken:
    """Answers as Vosk does where no model of it can be had: every third piece with sound in it ends an utterance."""

    def __init__(self) -> None:
        self.given: list[bytes] = []
        self._sounding = 0

    def AcceptWaveform(self, pcm: bytes) -> int:  # noqa: N802
        self.given.append(pcm)
        self._sounding += any(pcm)
        return int(self._sounding % 3 == 0 and any(pcm))

    def _result(self, name: str) -> str:
        end = sum(map(len, self.given)) / 2 / 8000
        words = [{"word": "word", "start": end - 0.1, "end": end - 0.02, "conf": 0.75}] * (self._sounding > 0)
        return json.dumps({name: words})

    def Result(self) -> str:  # noqa: N802
        return self._result("result")

    FinalResult = Result

    def PartialResult(self) -> str:  # noqa: N802
        return self._result("partial_result")


@settings(max_examples=20, deadline=None)
@given(cuts=st.lists(st.integers(0, 7000), max_size=8))
def test_what_is_told_does_not_depend_on_how_the_leg_is_cut(cuts: list[int]) -> None:
    audio = np.where(np.arange(7000) % 2000 < 900, 0.5, 0.0).astype(np.float32)

    def told(pieces: list[np.ndarray]) -> tuple[list[Utterance], list[bytes]]:
        decoder = _Spoken()
        session = VoskSession(decoder, 8000, 800)
        return [u for piece in pieces for u in session.accept(piece)] + session.finish(), decoder.given

    utterances, given_ = told([audio])
    assert told(np.split(audio, sorted(cuts))) == (utterances, given_)
    assert np.frombuffer(b"".join(given_), "<i2").tolist() == np.rint(audio * 32768).tolist()
    finals = [u for u in utterances if u.status is SegmentStatus.FINAL]
    assert len(finals) > 1
    assert finals[0].first_sample == 800
    for before, after in itertools.pairwise(finals):
        assert after.first_sample == before.end_sample
    for number, utterance in enumerate(utterances):
        same = [u for u in utterances[:number] if u.first_sample == utterance.first_sample]
        assert utterance.revision == len(same)
        if utterance.status is SegmentStatus.PARTIAL:
            assert {word.confidence for word in utterance.words} == {0.0}


def test_it_has_the_sessions_methods() -> None:
    for name in ("accept", "finish", "end_sample"):
        assert hasattr(VoskSession, name)
        assert hasattr(RecognitionSession, name)


@needs_vosk
@pytest.mark.vosk
def test_a_real_model_recognises_a_real_sentence_however_it_is_cut() -> None:
    folder, audio = os.environ.get(MODEL_VARIABLE), os.environ.get(f"{MODEL_VARIABLE}_AUDIO")
    if not folder or not audio:
        pytest.skip(
            f"needs a model, which no package registry has: unpack one of alphacephei.com/vosk/models and run "
            f"{MODEL_VARIABLE}=FOLDER {MODEL_VARIABLE}_AUDIO=SPEECH.wav pytest {Path(__file__).name}"
        )
    samples, rate = soundfile.read(audio, dtype="float32")
    assert rate == 8000
    recogniser = VoskRecogniser(Path(folder))
    tellings = []
    for piece in (PIECE_SAMPLES, 100, len(samples)):
        session = recogniser.session(8000)
        told = [
            u
            for at in range(0, len(samples), piece)
            for u in session.accept(np.ascontiguousarray(samples[at : at + piece]))
        ]
        tellings.append([u for u in [*told, *session.finish()] if u.status is SegmentStatus.FINAL])
    assert tellings[0]
    assert tellings[0] == tellings[1] == tellings[2]
    assert all(1000 <= word.start_ms <= word.end_ms for u in tellings[0] for word in u.words)
