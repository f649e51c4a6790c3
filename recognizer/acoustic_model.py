"""The acoustic network: features to log likelihoods of HMM states, streaming, many legs at a time.

A factored time-delay network (TDNN-F, Povey et al., Interspeech 2018); a step is three feature frames stacked
(30 ms), and every layer looks some steps back and, rarely, ahead: output ``t`` depends on steps ``t - left`` to
``t + right``. What a leg's next step will look back on is kept, so nothing is computed twice.

The same audio has to give the same bits when it is recognised again after a crash. They depend neither on how the
audio was cut, nor on where in the leg the network began, nor on which legs it hears together:
:mod:`recognizer.network_kernels` says why.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from recognizer.decodable import Listening
from recognizer.features import WINDOW_FRAMES, FeatureBlock, FeatureStatistics, FeatureStream
from recognizer.log_mel import BINS, SHIFT_SAMPLES
from recognizer.network_folding import AcousticModelError as AcousticModelError
from recognizer.network_folding import Affine, folded
from recognizer.network_pool import MOST_LEGS, MOST_STEPS, NetworkPool
from recognizer.quantised import WeightForm, quantise

Float32 = NDArray[np.float32]

STACK: Final = 3
"""Feature frames per output frame."""
OUTPUT_SAMPLES: Final = STACK * SHIFT_SAMPLES
"""Samples per output frame: 240, which is 30 ms."""
STEP_FRAMES: Final = 2
"""Output frames between two of a session's decisions. The network itself takes what has come."""


class AcousticModel:
    """The folded network, shared by all legs of one thread.

    Attributes
    ----------
    statistics : FeatureStatistics
        For the normalisation of its features.
    chain : tuple of Affine
        Its products.
    left, right : int
        Steps (30 ms) that an output looks back and ahead.
    """

    def __init__(self, statistics: FeatureStatistics, chain: tuple[Affine, ...]) -> None:
        self.statistics = statistics
        self.chain = chain
        self.left = sum(affine.left for affine in chain)
        self.right = sum(affine.right for affine in chain)
        self._pool = NetworkPool(chain)

    @property
    def pdfs(self) -> int:
        """Columns of the log likelihoods."""
        return self.chain[-1].matrix.outputs

    @property
    def listening(self) -> Listening:
        """Its time base."""
        return Listening(SHIFT_SAMPLES, OUTPUT_SAMPLES, STEP_FRAMES, WINDOW_FRAMES - 1)

    @property
    def bytes_per_leg(self) -> int:
        """What a leg's activations take."""
        return self._pool.bytes_per_leg

    @property
    def weight_bytes(self) -> int:
        """What the weights take."""
        return self._pool.weight_bytes

    @classmethod
    def load(cls, path: Path, acoustic_scale: float, form: WeightForm = "as-shipped") -> AcousticModel:
        """Read an ``acoustic.npz`` and fold it.

        Parameters
        ----------
        path : Path
            Weights by the names of the model card, matrices as numbers or in 8 bits.
        acoustic_scale : float
            Factor of the log likelihoods against graph costs.
        form : str
            ``float32`` or ``int8`` to compute with, whatever the file holds; or as the file has it.

        Raises
        ------
        AcousticModelError
            The file is missing, damaged, or holds a network of another kind.
        """
        try:
            with np.load(path, allow_pickle=False) as archive:
                weights = {name: archive[name] for name in archive.files}
            return cls.fold(weights, acoustic_scale, form)
        except AcousticModelError:
            raise
        except KeyError as error:
            raise AcousticModelError(f"The acoustic model lacks the array {error}.") from error
        except (OSError, EOFError, ValueError, IndexError, TypeError) as error:
            raise AcousticModelError(f"The acoustic model could not be read: {type(error).__name__}.") from error

    @classmethod
    def fold(
        cls, weights: Mapping[str, NDArray[Any]], acoustic_scale: float, form: WeightForm = "as-shipped"
    ) -> AcousticModel:
        """Fold weights as trained (names of the model card) into the form that runs.

        Raises
        ------
        KeyError
            An array is missing.
        ValueError
            An array has the wrong shape, or the acoustic scale is not positive.
        """
        if form == "int8":
            weights = quantise(weights)
        chain = folded(weights, acoustic_scale, STACK * BINS)
        if form == "float32":
            chain = tuple(affine.as_numbers() for affine in chain)
        mean, deviation = (np.ascontiguousarray(weights[name], np.float32) for name in ("mean", "std"))
        return cls(FeatureStatistics(mean, deviation), chain)

    def first_feature(self, first_frame: int) -> int:
        """Return the first normalised feature frame that output `first_frame` and those after it depend on."""
        return max(0, STACK * (first_frame - self.left))

    def features(self) -> FeatureStream:
        """Return a new leg's way from samples to features."""
        return FeatureStream(self.statistics)

    def stream(self, first_frame: int = 0) -> AcousticStream:
        """Return a new leg's inference, whose first output is `first_frame` (see :class:`AcousticStream`)."""
        return AcousticStream(self, first_frame)

    def accept_many(self, streams: Sequence[AcousticStream], features: Sequence[FeatureBlock]) -> list[Float32]:
        """Hear several legs at once: as ``stream.accept(block)`` for each, in one pass through the network.

        Parameters
        ----------
        streams : sequence of AcousticStream
            Of this model, all different.
        features : sequence of float32[frames, 40]
            What each is given; any numbers of frames.

        Returns
        -------
        list of float32[n, pdfs]
            What each leg's features complete.
        """
        for stream, block in zip(streams, features, strict=True):
            stream.offer(block)
        return self._run(streams)

    def _run(self, streams: Sequence[AcousticStream]) -> list[Float32]:
        """Take every whole step that is pending through the network."""
        done: list[list[Float32]] = [[] for _ in streams]
        waiting = [(i, stream) for i, stream in enumerate(streams) if stream.steps_ready]
        while waiting:
            for first in range(0, len(waiting), MOST_LEGS):
                group = waiting[first : first + MOST_LEGS]
                steps = np.array([min(MOST_STEPS, stream.steps_ready) for _, stream in group])
                slots = np.array([stream.slot for _, stream in group])
                times = np.array([stream.steps_taken for _, stream in group])
                inputs = [stream.take(int(count)) for (_, stream), count in zip(group, steps, strict=True)]
                scores = self._pool.advance(slots, times, steps, np.concatenate(inputs))
                for (i, stream), rows in zip(group, np.split(scores, np.cumsum(steps)[:-1]), strict=True):
                    done[i].append(stream.told(rows))
            waiting = [(i, stream) for i, stream in waiting if stream.steps_ready]
        none = np.empty((0, self.pdfs), np.float32)
        return [np.concatenate([none, *rows]) for rows in done]


class AcousticStream:
    """One leg's inference.

    Parameters
    ----------
    model : AcousticModel
    first_frame : int
        First output frame wanted.

    Notes
    -----
    Before a leg's first frame the network sees that frame repeated, after the last one the last (as in training).
    """

    def __init__(self, model: AcousticModel, first_frame: int = 0) -> None:
        self._model = model
        self.first_feature = model.first_feature(first_frame)
        """Index of the first normalised feature frame that `accept` wants; it wants all that follow."""
        self.frames = first_frame
        """Index of the next output frame."""
        self.slot = model._pool.take()
        """Where in the pool its activations lie."""
        weakref.finalize(self, model._pool.give_back, self.slot)
        self.steps_taken = 0
        """Steps that went into the network, those before the leg's first frame included."""
        self._next_output = first_frame - model.left - model.right
        self._features = self.first_feature
        self._repeated = max(0, model.left - first_frame)
        self._pending: Float32 = np.empty((0, BINS), np.float32)
        self._last: Float32 | None = None

    def accept(self, features: FeatureBlock) -> Float32:
        """Return the log likelihoods that `features` (float32[frames, 40]) complete: scaled, float32[n, pdfs]."""
        return self._model.accept_many([self], [features])[0]

    def finish(self) -> Float32:
        """Return the remaining log likelihoods, for the end of the leg; the stream is used up."""
        if self._last is None:
            return np.empty((0, self._model.pdfs), np.float32)
        frames = -(-self._features // STACK)
        missing = STACK * (frames + self._model.right) - self._features
        self._pending = np.concatenate((self._pending, np.repeat(self._last, missing, 0)))
        return self._model._run([self])[0]

    def offer(self, features: FeatureBlock) -> None:
        """Take features without computing anything yet."""
        if not len(features):
            return
        self._features += len(features)
        if self._last is None and self._repeated:
            features = np.concatenate((np.repeat(features[:1], STACK * self._repeated, 0), features))
        self._last = features[-1:].copy()
        self._pending = np.concatenate((self._pending, features))

    @property
    def steps_ready(self) -> int:
        """Whole steps that wait to go into the network."""
        return len(self._pending) // STACK

    def take(self, steps: int) -> Float32:
        """Return the next `steps` inputs of the network, float32[steps, 120]."""
        taken = self._pending[: steps * STACK]
        self._pending = self._pending[steps * STACK :]
        self.steps_taken += steps
        return taken.reshape(steps, -1)

    def told(self, scores: Float32) -> Float32:
        """Return those of the network's next rows that are outputs wanted."""
        known = min(len(scores), max(0, self.frames - self._next_output))
        self._next_output += len(scores)
        self.frames = max(self.frames, self._next_output)
        return scores[known:]
