"""What the search and the sessions ask of an acoustic model, whatever runs it: ours in numpy, or an ONNX file.

`Decodable` is the search's question (Kaldi's ``itf/decodable-itf.h``). `AcousticScorer` is a session's: a model that
all legs of a process share and that makes one `ScoreStream` a leg, from normalised features to log likelihoods.
`Listening` says how a model hears, for the constants of one model are not those of another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]

TELEPHONE_HZ = 8000
"""Rate of the samples that sessions are fed; all counts of samples are at this rate."""


class Decodable(Protocol):
    """What the search asks of an acoustic model: two questions (after Kaldi's ``itf/decodable-itf.h``)."""

    def frames_ready(self) -> int:
        """Frames whose scores can be asked for now, counted from the utterance's start."""

    def log_likelihoods(self, first: int, last: int) -> Float32:
        """Scaled log likelihoods of the frames from `first` up to, not including, `last`: (frames, pdfs)."""


@dataclass(frozen=True)
class Listening:
    """How a model hears: its time base in samples of 8 kHz, and what it has to hear again after a take-over.

    Attributes
    ----------
    feature_samples : int
        Between two feature frames; 80 is 10 ms.
    output_samples : int
        Between two rows of log likelihoods: 240 for a step of 30 ms, 320 for 40 ms.
    step_frames : int
        Rows computed at once, on a grid fixed to the leg's first row. Decisions are made on this grid.
    feature_history : int
        Feature frames to compute, and throw away, before the first one that is used, when a stream of features
        starts in mid-leg: what their mean, window or resampler reaches back.
    """

    feature_samples: int
    output_samples: int
    step_frames: int
    feature_history: int

    def __post_init__(self) -> None:
        if min(self.feature_samples, self.output_samples, self.step_frames) < 1 or self.feature_history < 0:
            raise ValueError("A model's steps are positive and its history is not negative.")
        if self.output_samples % self.feature_samples:
            raise ValueError("A row of log likelihoods must span a whole number of feature frames.")

    @property
    def frame_ms(self) -> int:
        """Milliseconds between two rows of log likelihoods."""
        return self.output_samples * 1000 // TELEPHONE_HZ


class FeatureSource(Protocol):
    """Samples to features of one leg, the same under any split."""

    def accept(self, samples: Float32) -> Float32:
        """Return the frames (float32[frames, bins]) that `samples` (float32[n], 8 kHz, in [-1, 1)) complete."""


class ScoreStream(Protocol):
    """One leg's inference.

    Attributes
    ----------
    first_feature : int
        Index of the first feature frame that `accept` wants; it wants all that follow.
    frames : int
        Index of the next row that comes out.
    """

    first_feature: int
    frames: int

    def accept(self, features: Float32) -> Float32:
        """Return the scaled log likelihoods that `features` complete: float32[n, pdfs]."""

    def finish(self) -> Float32:
        """Return the remaining rows, for the end of the leg; the stream is used up."""


class AcousticScorer(Protocol):
    """A model that all legs of a process share (one thread)."""

    @property
    def pdfs(self) -> int:
        """Columns of the log likelihoods."""

    @property
    def listening(self) -> Listening:
        """Its time base."""

    def features(self) -> FeatureSource:
        """Return a new leg's way from samples to the features that its streams want."""

    def first_feature(self, first_frame: int) -> int:
        """Return the first feature frame that row `first_frame` and those after it depend on."""

    def stream(self, first_frame: int = 0) -> Any:
        """Return a new leg's inference (a `ScoreStream`), whose first row is `first_frame`."""
