"""A call's blocks as the recording that is kept: all legs on one timeline, 8 kHz, 16 bits, hidden where need be."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from compliance.recordings.bleep import Bleeper
from compliance.recordings.sealed_recording import CHUNK_SAMPLES
from dsp import bleep
from dsp.front_end import AudioChunk, FrontEnd
from dsp.resample import TELEPHONE_RATE
from events.audio import AudioBlock
from events.recording import Peaks

MOST_BUCKETS: Final = 4000
SHORTEST_BUCKET_MS: Final = 50

Int16 = NDArray[np.int16]


def leg_windows(blocks: Iterable[AudioBlock], samples: int) -> Iterator[tuple[int, Int16]]:
    """Yield (first sample, int16 window): all of one leg from sample 0 to `samples`, silent where nothing was heard.

    Windows have `CHUNK_SAMPLES` samples, the last one fewer. G.711 at 8 kHz gives exactly its levels.
    """
    window = np.zeros(min(CHUNK_SAMPLES, samples), np.int16)
    first = 0
    for chunk in _chunks(blocks):
        heard = np.clip(np.rint(chunk.samples * np.float32(32768)), -32768, 32767).astype(np.int16)
        at = chunk.start_sample
        heard = heard[: max(0, samples - at)]
        while heard.size:
            while at >= first + window.size:
                yield first, window
                first += window.size
                window = np.zeros(min(CHUNK_SAMPLES, samples - first), np.int16)
            fits = heard[: first + window.size - at]
            window[at - first : at - first + fits.size] = fits
            at += fits.size
            heard = heard[fits.size :]
    while window.size:
        yield first, window
        first += window.size
        window = np.zeros(min(CHUNK_SAMPLES, samples - first), np.int16)


def _chunks(blocks: Iterable[AudioBlock]) -> Iterator[AudioChunk]:
    front_end = FrontEnd()
    heard = False
    for block in blocks:
        heard = True
        yield from front_end.push(block)
    if heard:
        yield from front_end.end_call()


class PeakMeter:
    """Waveform overview of one leg of a recording of `samples` samples."""

    def __init__(self, leg: int, samples: int) -> None:
        milliseconds = samples * 1000 // TELEPHONE_RATE
        self._leg = leg
        self._bucket_ms = max(SHORTEST_BUCKET_MS, milliseconds // MOST_BUCKETS + 1)
        self._bucket = self._bucket_ms * TELEPHONE_RATE // 1000
        self._peaks = np.zeros(-(-samples // self._bucket), np.int32)

    def add(self, samples: Int16, first_sample: int) -> None:
        bleep.raise_peaks(samples, first_sample, self._bucket, self._peaks)

    def peaks(self) -> Peaks:
        levels = np.minimum(255, self._peaks * 255 // 32767).astype(np.uint8)
        return Peaks(self._leg, self._bucket_ms, levels.tobytes())


def hidden_windows(
    windows: Iterable[tuple[int, Int16]], bleeper: Bleeper, ranges: bleep.Ranges, meter: PeakMeter
) -> Iterator[Int16]:
    """Yield the windows with `ranges` hidden in them, and show them to the meter."""
    for first, window in windows:
        bleeper.hide(window, first, ranges)
        meter.add(window, first)
        yield window
