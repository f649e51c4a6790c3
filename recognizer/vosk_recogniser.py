"""Vosk (extra ``vosk``): behind the session's protocol, `accept(samples)` and `finish()`, and as a second recogniser.

It brings its own acoustic model, graph, search and endpoints; only words, times and confidences cross this line. A
session hears fixed pieces of 120 ms on a grid from the leg's first sample, so what it says does not depend on how the
audio was cut. It cannot be taken up in mid-leg: a successor hears the leg again from its beginning. As a second
recogniser (:mod:`recognizer.second_recogniser`) it hears each utterance in a decoder of its own, so there the question
does not arise.

This is the one place that imports vosk. Its models are not to be had from a package registry; a folder of one is
named by whoever installs it, and is trusted as a program is: libvosk reads it in C++.
"""

from __future__ import annotations

import json
import math
import re
import sys
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dsp.resample import Resampler
from events.transcript import SegmentStatus, Word
from recognizer.decodable import TELEPHONE_HZ
from recognizer.second_recogniser import SecondRecogniserError
from recognizer.session import Utterance

Float32 = NDArray[np.float32]

INSTALL: Final = "pip install 'callwarden[vosk]'"
PIECE_SAMPLES: Final = 960
_LAYOUT: Final = ("am/final.mdl", "conf/model.conf", "conf/mfcc.conf")
_FORMER_LAYOUT: Final = ("final.mdl", "mfcc.conf", "words.txt")
_RATE: Final = re.compile(r"^\s*--sample-frequency=(\d+)", re.MULTILINE)
_RATES: Final = (8000, 16000)
_MOST_CONF_BYTES: Final = 1 << 16


class VoskError(SecondRecogniserError):
    """Vosk is not installed, or a folder holds no model that it can read; one sentence."""


class VoskRecogniser:
    """A model that all sessions of a process share.

    Parameters
    ----------
    folder : Path
        A model as Vosk publishes them, unpacked.

    Raises
    ------
    VoskError
        In one sentence.
    """

    def __init__(self, folder: Path) -> None:
        self.sample_rate_hz = _checked_rate(folder)
        if "vosk" not in sys.modules and "kaldifst" in sys.modules:
            # Both bring an OpenFst of their own; loaded second, libvosk hangs for ever.
            raise VoskError("Vosk cannot be loaded into a process that has kaldifst loaded.")
        try:
            import vosk
        except (ImportError, OSError):  # OSError: its shared library cannot be loaded here
            raise VoskError(f"The second recogniser needs vosk, which is not installed: {INSTALL}.") from None
        self._vosk = vosk
        # Its own log lines quote the files it reads.
        vosk.SetLogLevel(-1)
        try:
            # By path, always: given a name instead, it would look for the model on the net.
            self._model = vosk.Model(model_path=str(folder.resolve()))
        except Exception:  # it raises nothing more special
            raise VoskError(f"The folder {folder.name} holds no model that vosk can read.") from None

    def session(self, origin_sample: int = 0) -> VoskSession:
        """Return a new leg's session, whose first sample lies at `origin_sample` (8 kHz, call timeline)."""
        return VoskSession(self._decoder(), self.sample_rate_hz, origin_sample)

    def words(self, samples: Float32, first_sample: int) -> tuple[Word, ...]:
        """Return the words of one utterance; see :class:`recognizer.second_recogniser.SecondRecogniser`.

        Raises
        ------
        VoskError
            Vosk fails.
        """
        session = VoskSession(self._decoder(), self.sample_rate_hz, first_sample, partials=False)
        told = session.accept(samples) + session.finish()
        return tuple(word for utterance in told for word in utterance.words)

    def _decoder(self) -> Any:
        try:
            decoder = self._vosk.KaldiRecognizer(self._model, float(self.sample_rate_hz))
        except Exception:  # as above
            raise VoskError("Vosk cannot recognise with its model.") from None
        decoder.SetWords(True)
        decoder.SetPartialWords(True)
        return decoder


def _checked_rate(folder: Path) -> int:
    """Return the rate of the audio that the model in `folder` wants."""
    if not folder.is_dir():
        raise VoskError(f"There is no folder {folder.name} with a model for vosk.")
    lacking = [[name for name in layout if not (folder / name).is_file()] for layout in (_LAYOUT, _FORMER_LAYOUT)]
    if all(lacking):
        raise VoskError(f"The folder {folder.name} is no model for vosk: it lacks {lacking[0][0]}.")
    conf = folder / (_FORMER_LAYOUT[1] if lacking[0] else _LAYOUT[2])
    with conf.open("rb") as file:
        found = _RATE.search(file.read(_MOST_CONF_BYTES).decode("utf-8", "replace"))
    rate = int(found.group(1)) if found else 16000
    if rate not in _RATES:
        raise VoskError(f"The model for vosk wants {rate} samples a second; 8000 and 16000 can be served.")
    return rate


class VoskSession:
    """Recognises one leg as its audio comes in; as :class:`recognizer.session.RecognitionSession` does.

    Parameters
    ----------
    decoder
        A ``vosk.KaldiRecognizer``, or whatever has its AcceptWaveform, Result, PartialResult and FinalResult.
    sample_rate_hz : int
        Of the audio that it is given: 8000 or 16000.
    origin_sample : int
        Call time of the leg's first sample, at 8 kHz.
    partials : bool
        Whether partial utterances are wanted.
    """

    def __init__(self, decoder: Any, sample_rate_hz: int, origin_sample: int = 0, partials: bool = True) -> None:
        self._decoder = decoder
        self._partials = partials
        self._origin = origin_sample
        self._resampler = Resampler(TELEPHONE_HZ, sample_rate_hz) if sample_rate_hz != TELEPHONE_HZ else None
        self._pending: Float32 = np.empty(0, np.float32)
        self._heard = 0
        self._first_sample = origin_sample
        self._partial: tuple[Word, ...] = ()
        self._revision = 0

    @property
    def end_sample(self) -> int:
        """The sample after the last one heard."""
        return self._origin + self._heard + len(self._pending)

    def accept(self, samples: Float32) -> list[Utterance]:
        """Hear `samples` (float32[n] in [-1, 1), 8 kHz) and return what can be told now, in order.

        Raises
        ------
        ValueError
            `samples` is not a one-dimensional float32 array.
        VoskError
            Vosk fails.
        """
        if samples.ndim != 1 or samples.dtype != np.float32:
            raise ValueError("Samples for the recogniser must be a one-dimensional float32 array.")
        self._pending = np.concatenate((self._pending, samples))
        told: list[Utterance] = []
        whole = len(self._pending) // PIECE_SAMPLES * PIECE_SAMPLES
        for at in range(0, whole, PIECE_SAMPLES):
            told += self._hear(self._pending[at : at + PIECE_SAMPLES])
        self._pending = self._pending[whole:].copy()
        return told

    def finish(self) -> list[Utterance]:
        """Return what is left, after the leg's last sample; the session is used up."""
        told = self._hear(self._pending) if len(self._pending) else []
        self._pending = self._pending[:0]
        if self._resampler is not None:
            self._give(self._resampler.finish())
        return told + self._told(self._decoder.FinalResult(), SegmentStatus.FINAL)

    def _hear(self, piece: Float32) -> list[Utterance]:
        self._heard += len(piece)
        if self._give(piece if self._resampler is None else self._resampler.push(piece)):
            return self._told(self._decoder.Result(), SegmentStatus.FINAL)
        return self._told(self._decoder.PartialResult(), SegmentStatus.PARTIAL) if self._partials else []

    def _give(self, samples: Float32) -> bool:
        pcm = np.clip(np.rint(samples * 32768.0), -32768, 32767).astype("<i2")
        if not len(pcm):
            return False
        try:
            return bool(self._decoder.AcceptWaveform(pcm.tobytes()))
        except Exception:  # it raises nothing more special
            raise VoskError("Vosk fails while it recognises.") from None

    def _told(self, result: str, status: SegmentStatus) -> list[Utterance]:
        words = words_of(result, self._origin, self.end_sample)
        if status is SegmentStatus.PARTIAL:
            words = tuple(Word(word.text, word.start_ms, word.end_ms, 0.0) for word in words)
            if not words or words == self._partial:
                return []
            self._partial = words
        end = self._origin + self._heard
        told = [Utterance(status, self._first_sample, end, words, self._revision)] if words else []
        self._revision += len(told)
        if status is SegmentStatus.FINAL:
            self._first_sample, self._partial, self._revision = end, (), 0
        return told


def words_of(result: str, origin_sample: int, end_sample: int) -> tuple[Word, ...]:
    """Return the words of one of Vosk's results, with call times in ms and confidences.

    Parameters
    ----------
    result : str
        JSON as ``Result()``, ``PartialResult()`` or ``FinalResult()`` give it; anything else holds no words.
    origin_sample : int
        Call time of the sample that its seconds count from, 8 kHz.
    end_sample : int
        No word ends later.
    """
    try:
        content = json.loads(result)
        entries = content.get("result") or content.get("partial_result") or ()
        origin, latest = origin_sample // 8, end_sample // 8
        words, before = [], origin
        for entry in entries:
            text, confidence = str(entry["word"]), float(entry.get("conf", 0.0))
            start, end = (origin + round(1000 * float(entry[name])) for name in ("start", "end"))
            if not text or text[0] in "[<" or not math.isfinite(confidence):  # a mark, no word
                continue
            start = min(max(start, before), latest)
            end = before = min(max(end, start), latest)
            words.append(Word(text, start, end, round(min(max(confidence, 0.0), 1.0), 4)))
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return ()
    return tuple(words)
