"""One leg in a worker: its session, what of it is told and saved, and which log positions it still needs.

A leg's chunks wait until its worker has read what there is; then :func:`recognise` takes a chunk of every leg through
the network together, again and again until none is left.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dsp.front_end import AudioChunk
from events import metrics
from events.audio import AudioBlock, LegAudioEnded
from events.identity import CallId, record_id
from events.log import Delivery
from events.transcript import LegProgress, LegTranscriptEnded, SegmentStatus, TranscriptSegment
from recognizer.log_mel import SAMPLE_RATE
from recognizer.recogniser import Recogniser
from recognizer.session import Place, RecognitionSession, Utterance, needed_from, scored_together
from recognizer.snapshot import LegState

_log = logging.getLogger(__name__)

Float32 = NDArray[np.float32]
Told = TranscriptSegment | LegProgress | LegTranscriptEnded

_PIECE_SAMPLES: Final = SAMPLE_RATE
_RESAMPLER_SAMPLES: Final = 160
"""A resampler that starts in mid-leg is exact after 11 ms; 20 ms more are asked for."""
_END_SLACK_SAMPLES: Final = 8
"""A leg at another rate may end a sample or so beside where its end, converted to 8 kHz, lies."""


@dataclass(frozen=True, slots=True)
class _Block:
    """Where a block lies on the 8 kHz timeline and in the log, and when it was made."""

    start: int
    end: int
    offset: int
    at_ms: int


class LegRecognition:
    """Recognises one leg's chunks and says what to write.

    Parameters
    ----------
    recogniser : Recogniser
    call : CallId
    leg : int
    saved : LegState, optional
        The snapshot of a leg that another worker began.
    progress_every_ms : int
        How much call time lies between two progress records.

    Attributes
    ----------
    state : LegState
        Where the leg stands; save it when everything told is durable, then say so with `note_saved`.
    """

    def __init__(
        self, recogniser: Recogniser, call: CallId, leg: int, saved: LegState | None, progress_every_ms: int
    ) -> None:
        self._recogniser = recogniser
        self._call = call
        self._progress_every_ms = progress_every_ms
        self._session: RecognitionSession | None = None
        self._taken_up = saved
        self._waiting: deque[tuple[int, Float32]] = deque()
        self._piece_end = 0
        self._blocks: deque[_Block] = deque()
        self._slow_samples = 0
        self._progress_ms = 0 if saved is None else saved.first_sample // 8
        self._end_sample: int | None = None
        self.state = saved or LegState(leg)
        self._saved = saved
        self._needed = 0

    @property
    def ended(self) -> bool:
        """Whether the leg's end was told."""
        return self.state.ended

    @property
    def unsaved(self) -> bool:
        """Whether `state` is newer than what was saved."""
        return self._saved is None or self.state.step > self._saved.step or self.state.ended > self._saved.ended

    def note_block(self, block: AudioBlock, delivery: Delivery) -> None:
        """Remember where a block lies. Call this before hearing the chunks that it makes."""
        if block.role is not self.state.role:
            self.state = replace(self.state, role=block.role)
        if block.sample_rate != SAMPLE_RATE:
            self._slow_samples = _RESAMPLER_SAMPLES
        start = block.start_sample * SAMPLE_RATE // block.sample_rate
        end = (block.start_sample + block.samples) * SAMPLE_RATE // block.sample_rate
        if not self._blocks or end > self._blocks[-1].end:
            self._blocks.append(_Block(start, end, delivery.offset, delivery.event.at_ms))

    def needed_offset(self) -> int | None:
        """Return the log offset of the first block that a successor needs; None when it needs none."""
        if (self._saved is not None and self._saved.ended) or not self._blocks:
            return None
        return self._blocks[0].offset

    def note_saved(self, state: LegState) -> None:
        """`state` is durable: a successor goes on from there."""
        self._saved = state
        if state.ended:
            self._blocks.clear()
            return
        needed = needed_from(self._recogniser, state.origin_sample, state.first_sample) - self._slow_samples
        while len(self._blocks) > 1 and self._blocks[1].start <= needed:
            self._blocks.popleft()

    def offer(self, chunk: AudioChunk) -> None:
        """Let `chunk` wait until `recognise` takes it."""
        for first in range(0, chunk.samples.size, _PIECE_SAMPLES):
            self._waiting.append((chunk.start_sample + first, chunk.samples[first : first + _PIECE_SAMPLES]))

    @property
    def waits(self) -> bool:
        """Whether chunks wait to be recognised."""
        return bool(self._waiting)

    def prepare(self) -> tuple[RecognitionSession, Float32] | None:
        """Take the next piece that waits; return the session and what its network wants. None after a failure."""
        start, piece = self._waiting.popleft()
        session = self._session or self._begin(start)
        self._piece_end = start + piece.size
        try:
            return session, session.prepare(piece)
        except Exception as error:
            self.failed(error)
            return None

    def tell(self, session: RecognitionSession, scores: Float32) -> list[Told]:
        """Return what is new after the piece whose log likelihoods these are."""
        told: list[Told] = []
        try:
            told += self._tell(session.tell(scores), session)
        except Exception as error:
            self.failed(error)
        return told

    def failed(self, error: Exception) -> None:
        """The piece at hand could not be recognised: begin anew behind it. Whatever it was, the other legs go on."""
        _log.error(
            "Leg %d of call %s is recognised anew from here on, after an internal error (%s).",
            self.state.leg,
            self._call,
            type(error).__name__,
        )
        metrics.count(metrics.RECOGNITION_RESTARTS)
        self._begin_anew(self._piece_end)

    def audio_ended(self, end: LegAudioEnded) -> None:
        """The leg's audio ends; its last chunks may still be on their way."""
        self._end_sample = end.end_sample * SAMPLE_RATE // end.sample_rate
        self.state = replace(self.state, role=end.role)

    def all_heard(self) -> bool:
        """Whether the end of the audio is known and everything before it was heard."""
        if self._end_sample is None or self.state.ended or self._waiting:
            return False
        heard = self._session.end_sample if self._session else None
        if heard is None:
            return not self._blocks
        return heard + _END_SLACK_SAMPLES >= self._end_sample

    def finish(self, end_ms: int | None = None) -> list[Told]:
        """End the leg: its last utterance, progress to its end, and the end itself."""
        told: list[Told] = []
        if self._session is not None:
            told += self._tell(self._session.finish(), self._session)
            end_ms = self._session.end_sample // 8
        elif end_ms is None:
            end_ms = (self._end_sample or 0) // 8
        state = self.state
        if end_ms > self._progress_ms:
            told.append(LegProgress(self._call, state.leg, state.role, end_ms))
        told.append(LegTranscriptEnded(self._call, state.leg, state.role, end_ms))
        self.state = replace(state, ended=True, step=state.step + 1)
        self._session = None
        return told

    def spoken_at_ms(self, end_ms: int) -> int | None:
        """Return when (UTC ms) the call time `end_ms` was captured; None when the audio is not live."""
        end = end_ms * (SAMPLE_RATE // 1000)
        place = next((i for i, block in enumerate(self._blocks) if block.end >= end), None)
        if place is None:
            return None
        block, oldest = self._blocks[place], self._blocks[0]
        # Imported audio is written much faster than it was spoken: its delay would be a figure of the backlog.
        if (block.at_ms - oldest.at_ms) * 2 * (SAMPLE_RATE // 1000) < block.end - oldest.end:
            return None
        return block.at_ms

    def _begin(self, start_sample: int) -> RecognitionSession:
        saved = self._taken_up
        if saved is not None and saved.step:
            graph_state = saved.graph_state if saved.graph_states == self._recogniser.graph.state_count else None
            place = Place(saved.first_sample, graph_state)
            self._session = RecognitionSession(
                self._recogniser, saved.origin_sample, place, heard_from=start_sample
            )
        else:
            self._session = RecognitionSession(self._recogniser, start_sample)
            self._progress_ms = start_sample // 8
            self.state = replace(self.state, origin_sample=start_sample, first_sample=start_sample)
        return self._session

    def _begin_anew(self, start_sample: int) -> RecognitionSession:
        origin = self.state.origin_sample
        step = self._recogniser.model.listening.output_samples
        first = origin + -(-(start_sample - origin) // step) * step
        self._session = RecognitionSession(self._recogniser, origin, Place(first), heard_from=start_sample)
        self.state = replace(self.state, first_sample=first, graph_state=None, step=self.state.step + 1)
        return self._session

    def _tell(self, utterances: list[Utterance], session: RecognitionSession) -> list[Told]:
        state = self.state
        told: list[Told] = [
            TranscriptSegment(
                record_id(self._call, "segment", state.leg, heard.first_sample),
                self._call,
                state.leg,
                state.role,
                heard.status,
                heard.first_sample,
                heard.words[0].start_ms,
                heard.words[-1].end_ms,
                heard.words,
                heard.revision,
                heard.stable_words,
            )
            for heard in utterances
        ]
        final = any(heard.status is SegmentStatus.FINAL for heard in utterances)
        # In silence progress comes at round times, which a successor that hears other chunks tells again.
        settled = session.settled_ms
        if not final:
            settled -= settled % self._progress_every_ms
        if settled > self._progress_ms:
            self._progress_ms = settled
            told.append(LegProgress(self._call, state.leg, state.role, settled))
        if session.place.first_sample != state.first_sample:
            self.state = replace(
                state,
                first_sample=session.place.first_sample,
                graph_state=session.place.graph_state,
                graph_states=self._recogniser.graph.state_count,
                step=state.step + 1,
            )
        return told


def recognise(recogniser: Recogniser, legs: Sequence[LegRecognition]) -> list[tuple[LegRecognition, list[Told]]]:
    """Recognise all that waits of `legs`, a piece of each at a time, and return what is new, in the legs' orders."""
    told: list[tuple[LegRecognition, list[Told]]] = []
    waiting = [leg for leg in legs if leg.waits]
    while waiting:
        prepared = [(leg, ready) for leg in waiting if (ready := leg.prepare()) is not None]
        try:
            scores = scored_together(
                recogniser.model,
                [session.network for _, (session, _) in prepared],
                [features for _, (_, features) in prepared],
            )
        except Exception as error:  # which leg it was cannot be told
            for leg, _ in prepared:
                leg.failed(error)
        else:
            told += [(leg, leg.tell(ready[0], rows)) for (leg, ready), rows in zip(prepared, scores, strict=True)]
        waiting = [leg for leg in waiting if leg.waits]
    return told
