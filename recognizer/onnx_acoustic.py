"""An ONNX model as an acoustic model: chunk by chunk, with its state tensors, to scaled log likelihoods.

Every leg runs by itself, every chunk has the same shape and lies on a grid that is fixed to the leg's first frame: so
the same audio gives the same bits, also after a take-over. State tensors are paired by name, ``NAME`` in and
``new_NAME`` out, which is how icefall's streaming exports and ours are made; they begin as zeros.

A state that never forgets would oblige a successor to hear the whole leg again. It is therefore replaced every
`restart_chunks` chunks by one that began `memory_chunks` earlier and was run beside it meanwhile.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from recognizer.acoustic_section import AcousticSection
from recognizer.decodable import FeatureSource, Listening
from recognizer.features import WINDOW_FRAMES, FeatureStatistics, FeatureStream
from recognizer.kaldi_fbank import HISTORY_FRAMES, SILENCE, FbankKernel, FbankSettings, FbankStream
from recognizer.log_mel import SHIFT_SAMPLES
from recognizer.onnx_session import OnnxError, OnnxSession, Port

Float32 = NDArray[np.float32]
State = dict[str, NDArray[Any]]

MOST_STATE_BYTES: Final = 64 << 20
"""Of one leg."""
MOST_COLUMNS: Final = 100_000
_NEW: Final = "new_"
_LEAST: Final = np.float32(-100.0)
"""Log probabilities are not below it: the search takes finite numbers only."""
_FEATURE_FLOOR: Final = np.float32(1e-20)


@dataclass(frozen=True)
class Ports:
    """Which tensor of a model is what."""

    features: Port
    scores: Port
    states: tuple[Port, ...]

    @classmethod
    def of(cls, session: OnnxSession, section: AcousticSection) -> Ports:
        """Sort a session's tensors.

        Raises
        ------
        OnnxError
            They are not one input of features, one output of scores, and pairs of states.
        """
        outputs = {port.name: port for port in session.outputs}
        states: list[Port] = []
        features: list[Port] = []
        for port in session.inputs:
            (states if _NEW + port.name in outputs else features).append(port)
        scores = [port for port in session.outputs if port.name not in {_NEW + state.name for state in states}]
        if len(features) != 1 or len(scores) != 1:
            raise OnnxError(
                f"The ONNX model has {len(features)} inputs and {len(scores)} outputs that are no pair "
                "of states NAME and new_NAME; it needs one input of features and one output of scores."
            )
        wanted = (1, section.window_frames, section.features.bins)
        given = features[0]
        if given.dtype != np.float32 or len(given.shape) != 3 or not _fits(given.shape, wanted):
            raise OnnxError(
                f"The ONNX model's input {given.name[:80]} has the shape {_told(given.shape)}; "
                f"{_told(wanted)} (batch, frames, bins) would be given."
            )
        columns = scores[0].shape[-1] if len(scores[0].shape) == 3 else None
        if columns is None or not 1 <= columns <= MOST_COLUMNS:
            raise OnnxError("The ONNX model's output must be (batch, rows, columns) with its columns told.")
        for state in states:
            new = outputs[_NEW + state.name]
            if new.dtype != state.dtype or len(new.shape) != len(state.shape):
                raise OnnxError(
                    f"The ONNX model's state {state.name[:80]} comes out in another form than it goes in."
                )
            if sum(size is None for size in state.shape) > 1:
                raise OnnxError(f"The ONNX model's state {state.name[:80]} leaves more than the batch open.")
        size = sum(state.dtype.itemsize * math.prod(n or 1 for n in state.shape) for state in states)
        if size > MOST_STATE_BYTES:
            raise OnnxError(f"The ONNX model's states take {size >> 20} MiB a leg, more than 64.")
        return cls(given, scores[0], tuple(states))

    def initial(self) -> State:
        """Return states as a leg begins with them: zeros, a batch of one."""
        return {
            state.name: np.zeros([1 if n is None else n for n in state.shape], state.dtype)
            for state in self.states
        }


class OnnxAcousticModel:
    """An ONNX file that all legs of a process share (an `AcousticScorer`).

    Parameters
    ----------
    path : Path
    section : AcousticSection
        How it is run.
    statistics : FeatureStatistics, optional
        Of our own kind of features.

    Raises
    ------
    OnnxError
        The file cannot be run so.
    """

    def __init__(self, path: Path, section: AcousticSection, statistics: FeatureStatistics | None = None) -> None:
        self.section = section
        self._session = OnnxSession(path)
        self._ports = Ports.of(self._session, section)
        self._outputs = [self._ports.scores.name, *(_NEW + state.name for state in self._ports.states)]
        self._statistics = statistics
        self._kernel: FbankKernel | None = None
        wanted = section.features
        if wanted.kind == "kaldi-fbank":
            amplitude = 1.0 if wanted.amplitude == "unit" else 32768.0
            try:
                self._kernel = FbankKernel(
                    FbankSettings(section.sample_rate_hz, wanted.bins, wanted.low_hz, wanted.high_hz, amplitude)
                )
            except ValueError as error:
                raise OnnxError(str(error)) from None
        elif statistics is None:
            raise OnnxError("The model needs the mean and deviation of its features, which are missing.")
        self._listening = Listening(
            SHIFT_SAMPLES,
            SHIFT_SAMPLES * section.frames_per_row,
            section.rows,
            HISTORY_FRAMES if self._kernel else WINDOW_FRAMES - 1,
        )

    @property
    def pdfs(self) -> int:
        """Columns of the log likelihoods."""
        return int(self._ports.scores.shape[-1] or 0)

    @property
    def listening(self) -> Listening:
        """Its time base."""
        return self._listening

    @property
    def statistics(self) -> FeatureStatistics:
        """Of our own kind of features."""
        assert self._statistics is not None
        return self._statistics

    def features(self) -> FeatureSource:
        """Return a new leg's way from samples to features."""
        return FbankStream(self._kernel) if self._kernel else FeatureStream(self.statistics)

    @property
    def silence(self) -> np.float32:
        """What every bin of its features holds in digital silence, where that is one number."""
        return SILENCE if self._kernel else np.float32(0.0)

    def first_feature(self, first_frame: int) -> int:
        """Return the first feature frame that row `first_frame` and those after it depend on."""
        return max(0, self.first_chunk(first_frame) * self.section.shift_frames - self.section.padding_frames)

    def first_chunk(self, first_frame: int) -> int:
        """Return the chunk at which a run for row `first_frame` has to begin with empty state."""
        section = self.section
        chunk = (first_frame + self.lag_rows) // section.rows
        if section.restart_chunks:
            chunk = chunk // section.restart_chunks * section.restart_chunks
        return max(0, chunk - section.memory_chunks)

    @property
    def lag_rows(self) -> int:
        """Row ``k * rows + r - lag_rows`` of the leg is row r of chunk k."""
        return self.section.padding_frames // self.section.frames_per_row + self.section.delay_rows

    def stream(self, first_frame: int = 0) -> OnnxStream:
        """Return a new leg's inference, whose first row is `first_frame`."""
        return OnnxStream(self, first_frame)

    def initial_state(self) -> State:
        """Return the state that a run begins with."""
        return self._ports.initial()

    def run(self, window: Float32, state: State) -> tuple[Float32, State]:
        """Run one chunk.

        Parameters
        ----------
        window : float32[window_frames, bins]
        state : dict
            From `initial_state` or from the chunk before.

        Returns
        -------
        scores : float32[rows, pdfs]
            As the model gives them, not scaled.
        state : dict
            For the next chunk.

        Raises
        ------
        OnnxError
            The model fails, or gives something of another shape than it said.
        """
        scores, *states = self._session.run(self._outputs, {self._ports.features.name: window[None], **state})
        if scores.shape != (1, self.section.rows, self.pdfs):
            raise OnnxError(
                f"The ONNX model gives rows of the shape {_told(scores.shape)} for a chunk; "
                f"{_told((1, self.section.rows, self.pdfs))} would fit its frame shift."
            )
        new = dict(zip(state, states, strict=True))
        if any(new[name].shape != state[name].shape for name in state):
            raise OnnxError("The ONNX model's states change their shape from chunk to chunk.")
        return scores[0].astype(np.float32, copy=False), new

    def scaled(self, scores: Float32) -> Float32:
        """Return scaled log likelihoods of what `run` gave."""
        if self.section.output == "probabilities":
            scores = np.log(np.maximum(scores, _FEATURE_FLOOR))
        if self.section.output != "log-likelihoods":
            scores = np.maximum(scores, _LEAST)
        return scores * np.float32(self.section.scale)


class OnnxStream:
    """One leg's inference, a `ScoreStream`.

    Parameters
    ----------
    model : OnnxAcousticModel
    first_frame : int
        First row wanted.
    """

    def __init__(self, model: OnnxAcousticModel, first_frame: int = 0) -> None:
        self._model = model
        self._section = model.section
        self._chunk = self._first_chunk = model.first_chunk(first_frame)
        self.first_feature = model.first_feature(first_frame)
        """Index of the first feature frame that `accept` wants; it wants all that follow."""
        self.frames = first_frame
        """Index of the next row."""
        self._state = model.initial_state()
        self._next_state: State | None = None
        self._heard = self.first_feature
        self._pending: Float32 = np.empty((0, self._section.features.bins), np.float32)
        self._last: Float32 | None = None

    def accept(self, features: Float32) -> Float32:
        """Return the scaled log likelihoods, float32[n, pdfs], that `features` (float32[frames, bins]) complete."""
        if not len(features):
            return self._none()
        if self._last is None:
            missing = self.first_feature - self._chunk * self._section.shift_frames + self._section.padding_frames
            features = np.concatenate((self._padding(features[:1], missing), features))
            self._heard -= missing
        self._heard += len(features)
        self._last = features[-1:].copy()
        self._pending = np.concatenate((self._pending, features))
        return self._run()

    def finish(self) -> Float32:
        """Return the remaining rows, for the end of the leg; the stream is used up."""
        if self._last is None:
            return self._none()
        wanted = -(-self._heard // self._section.frames_per_row) - self.frames
        if wanted <= 0:
            return self._none()
        chunks = -(-(self.frames + wanted + self._model.lag_rows) // self._section.rows) - self._chunk
        missing = (chunks - 1) * self._section.shift_frames + self._section.window_frames - len(self._pending)
        self._pending = np.concatenate((self._pending, self._padding(self._last, max(0, missing))))
        return self._run()[:wanted]

    def _none(self) -> Float32:
        return np.empty((0, self._model.pdfs), np.float32)

    def _padding(self, frame: Float32, frames: int) -> Float32:
        if self._section.padding == "silence":
            frame = np.full_like(frame, self._model.silence)
        return np.repeat(frame, frames, 0)

    def _run(self) -> Float32:
        window, shift = self._section.window_frames, self._section.shift_frames
        done, at = [self._none()], 0
        while len(self._pending) - at >= window:
            done.append(self._advance(np.ascontiguousarray(self._pending[at : at + window])))
            at += shift
        self._pending = self._pending[at:].copy()
        return np.concatenate(done)

    def _advance(self, window: Float32) -> Float32:
        self._change_states()
        scores, self._state = self._model.run(window, self._state)
        if self._next_state is not None:
            _, self._next_state = self._model.run(window, self._next_state)
        first_row = self._chunk * self._section.rows - self._model.lag_rows
        self._chunk += 1
        known = max(0, self.frames - first_row)
        if known >= len(scores):
            return self._none()
        self.frames = first_row + len(scores)
        return self._model.scaled(scores[known:])

    def _change_states(self) -> None:
        every, memory = self._section.restart_chunks, self._section.memory_chunks
        if not every or self._chunk == self._first_chunk:
            return
        if self._chunk % every == 0 and self._next_state is not None:
            self._state, self._next_state = self._next_state, None
        if memory == 0 and self._chunk % every == 0:
            self._state = self._model.initial_state()
        elif memory and (self._chunk + memory) % every == 0:
            self._next_state = self._model.initial_state()


def _fits(shape: tuple[int | None, ...], wanted: tuple[int, ...]) -> bool:
    return all(size is None or size == want for size, want in zip(shape, wanted, strict=True))


def _told(shape: tuple[int | None, ...]) -> str:
    return "(" + ", ".join("any" if size is None else str(size) for size in shape) + ")"
