"""A network that is not trained yet, timed with words that are: scores of the shipped one, released by the other.

How soon words come depends on how far the network looks ahead, what a leg costs on its size; which words come depends
on its training. To measure the first two before the third is done, a network with random weights is really run on
every leg, and when it gives a frame, the frame's scores are taken from a table that the shipped network made before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dsp import g711
from recognizer.acoustic_model import AcousticModel, AcousticStream
from recognizer.decodable import Listening
from recognizer.features import FeatureStream
from tests.bench.streaming_speech import SpokenLeg

Float32 = np.ndarray


class TimedByAnother:
    """An `AcousticScorer` whose time and cost are those of `timed` and whose scores are those of `trained`."""

    def __init__(self, trained: AcousticModel, timed: AcousticModel, spoken: Sequence[SpokenLeg]) -> None:
        self._timed, self._trained = timed, trained
        self.pdfs, self.listening = trained.pdfs, trained.listening
        self._scores: dict[bytes, Float32] = {}
        for leg in spoken:
            features = self.features().accept(g711.decode_mu_law_float(np.frombuffer(leg.codes, np.uint8)))
            stream = trained.stream()
            self._scores[features[0].tobytes()] = np.concatenate([stream.accept(features), stream.finish()])

    listening: Listening

    def features(self) -> FeatureStream:
        return self._trained.features()

    def first_feature(self, first_frame: int) -> int:
        return self._timed.first_feature(first_frame)

    def stream(self, first_frame: int = 0) -> Released:
        return Released(self, self._timed.stream(first_frame))

    def accept_many(self, streams: Sequence[Released], features: Sequence[Float32]) -> list[Float32]:
        for stream, block in zip(streams, features, strict=True):
            if stream.scores is None and len(block):
                stream.scores = self._scores[block[0].tobytes()]
        made = self._timed.accept_many([stream.timed for stream in streams], features)
        return [stream.released(len(rows)) for stream, rows in zip(streams, made, strict=True)]


class Released:
    """One leg of `TimedByAnother`; it begins where the leg does."""

    def __init__(self, model: TimedByAnother, timed: AcousticStream) -> None:
        self._model, self.timed = model, timed
        self.first_feature = timed.first_feature
        self.scores: Any = None

    @property
    def frames(self) -> int:
        return self.timed.frames

    def released(self, count: int) -> Float32:
        if not count:
            return np.empty((0, self._model.pdfs), np.float32)
        return np.asarray(self.scores[self.frames - count : self.frames])

    def accept(self, features: Float32) -> Float32:
        return self._model.accept_many([self], [features])[0]

    def finish(self) -> Float32:
        return self.released(len(self.timed.finish()))
