"""What is measured: our recogniser as it runs in production, and PocketSphinx beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dsp.resample import TELEPHONE_RATE, resample
from events.transcript import SegmentStatus
from recognizer.model_pack import DEFAULT_PACK, ModelPack
from recognizer.recogniser import Recogniser
from recognizer.session import RecognitionSession

Float32 = NDArray[np.float32]

PIECE_SAMPLES = TELEPHONE_RATE // 10
_POCKETSPHINX_RATE = 16000


class System(Protocol):
    """Anything that turns speech into text."""

    name: str

    def recognise(self, samples: Float32) -> str:
        """Return the text of float32[n] samples at 8 kHz."""


class Callwarden:
    """Our recogniser, streaming: the audio comes in pieces of 100 ms, the final utterances are the text."""

    def __init__(self, pack: Path = DEFAULT_PACK) -> None:
        loaded = ModelPack.load(pack)
        self.name = f"callwarden {loaded.name}"
        self._recogniser = Recogniser.of_pack(loaded)
        self.recognise(np.zeros(TELEPHONE_RATE, np.float32))  # compiles, so that no set's time contains it

    def recognise(self, samples: Float32) -> str:
        session = RecognitionSession(self._recogniser)
        told = []
        for at in range(0, len(samples), PIECE_SAMPLES):
            told += session.accept(samples[at : at + PIECE_SAMPLES])
        told += session.finish()
        return " ".join(utterance.text for utterance in told if utterance.status is SegmentStatus.FINAL)


class PocketSphinx:
    """PocketSphinx with the model in its package (16 kHz): the audio is upsampled and given at once."""

    def __init__(self) -> None:
        import pocketsphinx

        self.name = (
            f"PocketSphinx {pocketsphinx.__version__ if hasattr(pocketsphinx, '__version__') else ''}".strip()
        )
        self._decoder: Any = pocketsphinx.Decoder(loglevel="FATAL")

    def recognise(self, samples: Float32) -> str:
        wide = resample(samples, TELEPHONE_RATE, _POCKETSPHINX_RATE)
        raw = np.clip(np.rint(wide * 32768), -32768, 32767).astype("<i2").tobytes()
        self._decoder.start_utt()
        self._decoder.process_raw(raw, full_utt=True)
        self._decoder.end_utt()
        found = self._decoder.hyp()
        return found.hypstr if found else ""
