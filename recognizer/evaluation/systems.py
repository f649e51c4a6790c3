"""What is measured: our recogniser as it runs in production, with any model pack, and PocketSphinx beside it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from dsp.resample import TELEPHONE_RATE, resample
from events.transcript import SegmentStatus
from recognizer.evaluation.lattice_oracle import LatticeKeeper
from recognizer.evaluation.recognition import Recognition, Telling, Waits, waits_of
from recognizer.lattice import Lattice
from recognizer.model_pack import DEFAULT_PACK, ModelPack
from recognizer.recogniser import Recogniser, RecogniserSettings
from recognizer.session import RecognitionSession

Float32 = NDArray[np.float32]

PIECE_SAMPLES = TELEPHONE_RATE // 10
_POCKETSPHINX_RATE = 16000


class System(Protocol):
    """Anything that turns speech into text."""

    name: str

    def recognise(self, samples: Float32) -> str:
        """Return the text of float32[n] samples at 8 kHz."""


@runtime_checkable
class StreamingSystem(Protocol):
    """A system that tells confidences and delays too."""

    def listen(self, samples: Float32) -> Recognition:
        """Return what was recognised in float32[n] samples at 8 kHz."""


class Callwarden:
    """Our recogniser, streaming: the audio comes in pieces of 100 ms, the final utterances are the text."""

    def __init__(
        self, pack: Path = DEFAULT_PACK, settings: RecogniserSettings | None = None, lattices: bool = False
    ) -> None:
        loaded = ModelPack.load(pack)
        self.name = self.called(loaded.name)
        self._recogniser = (LatticeKeeper if lattices else Recogniser).of_pack(loaded, settings)
        self.keeps_lattices = lattices
        self.recognise(np.zeros(TELEPHONE_RATE, np.float32))  # compiles, so that no set's time contains it

    @staticmethod
    def called(pack_name: str) -> str:
        """What the system is called in reports."""
        return f"callwarden {pack_name}"

    def recognise(self, samples: Float32) -> str:
        return self.listen(samples).text

    def listen(self, samples: Float32) -> Recognition:
        kept: list[Lattice] = []
        if isinstance(self._recogniser, LatticeKeeper):
            self._recogniser.lattices = kept
        session = RecognitionSession(self._recogniser)
        words: list[str] = []
        confidences: list[float] = []
        waits = Waits()
        partials: list[Telling] = []
        # One step more than there are pieces: the last one is the recording's end.
        for at in range(0, len(samples) + PIECE_SAMPLES, PIECE_SAMPLES):
            at_end = at >= len(samples)
            began = time.process_time()
            told = session.finish() if at_end else session.accept(samples[at : at + PIECE_SAMPLES])
            compute_ms = 1000 * (time.process_time() - began)
            for utterance in told:
                telling = Telling(utterance, min(at + PIECE_SAMPLES, len(samples)) / 8, compute_ms)
                if utterance.status is SegmentStatus.PARTIAL:
                    partials.append(telling)
                    continue
                mine = [one for one in partials if one.utterance.first_sample == utterance.first_sample]
                waits += waits_of(mine, telling, at_end)
                words += [word.text for word in utterance.words]
                confidences += [word.confidence for word in utterance.words]
                partials.clear()
        return Recognition(
            tuple(words), tuple(confidences), waits, tuple(kept), self._recogniser.graph.words if kept else ()
        )


class PocketSphinx:
    """PocketSphinx with the model in its package (16 kHz): the audio is upsampled and given at once."""

    def __init__(self) -> None:
        import pocketsphinx

        self.name = self.called()
        self._decoder: Any = pocketsphinx.Decoder(loglevel="FATAL")

    @staticmethod
    def called() -> str:
        """What the system is called in reports; raises ImportError if it is not installed."""
        import pocketsphinx

        return f"PocketSphinx {getattr(pocketsphinx, '__version__', '')}".strip()

    def recognise(self, samples: Float32) -> str:
        wide = resample(samples, TELEPHONE_RATE, _POCKETSPHINX_RATE)
        raw = np.clip(np.rint(wide * 32768), -32768, 32767).astype("<i2").tobytes()
        self._decoder.start_utt()
        self._decoder.process_raw(raw, full_utt=True)
        self._decoder.end_utt()
        found = self._decoder.hyp()
        return found.hypstr if found else ""
