"""One leg's recognition, from samples to utterances: features, network, search, endpoints, in step with the audio.

The features and the network run through the whole leg; only the search starts anew behind each endpoint. All
decisions are made on a grid of a few frames that is fixed to the leg's first sample, so the same audio gives the
same utterances however it was cut into pieces, and also when a successor takes the leg up in the middle.

Several legs' audio goes through the network together, see :func:`hear_together`; nothing that is told depends on it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from events.transcript import SegmentStatus, Word
from recognizer.beam_search import BeamSearch, Hypothesis
from recognizer.decodable import AcousticScorer, ScoreStream
from recognizer.endpoint import EndpointRule
from recognizer.heard_audio import HeardAudio
from recognizer.partial_words import PartialWords
from recognizer.recogniser import Recogniser
from recognizer.second_recogniser import second_opinion

Float32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Utterance:
    """What was heard between two endpoints, or has been heard of it so far.

    Attributes
    ----------
    status : SegmentStatus
        A final utterance is told once and does not change; partial ones are guesses at the one being spoken.
    first_sample : int
        Names the utterance: the sample (8 kHz, call timeline) after the previous one's end.
    end_sample : int
        The sample after its last.
    words : tuple of Word
        At least one. Times are call time in ms. Those of partial utterances are rough, their confidence is 0.
    revision : int
        Counts the partial utterances told under `first_sample`; the final one has the next number.
    stable_words : int
        How many of a partial utterance's first words will hardly change any more (:mod:`recognizer.partial_words`).
    decided_ms : int, optional
        Of a final utterance that silence ended: the call time that the search had reached when it found its end.
    """

    status: SegmentStatus
    first_sample: int
    end_sample: int
    words: tuple[Word, ...]
    revision: int
    stable_words: int = 0
    decided_ms: int | None = None

    @property
    def text(self) -> str:
        """The words with single spaces between."""
        return " ".join(word.text for word in self.words)


@dataclass(frozen=True, slots=True)
class Place:
    """Where an utterance begins: all that a successor needs besides the audio.

    Attributes
    ----------
    first_sample : int
        Of the utterance, 8 kHz, call timeline.
    graph_state : int, optional
        Where in the graph the search begins, when the utterance goes on with the sentence of the one before it.
    """

    first_sample: int
    graph_state: int | None = None


class RecognitionSession:
    """Recognises one leg as its audio comes in.

    Feed every sample once, in order; gaps as zeros: ``for block in blocks: out += session.accept(block)``, then
    ``out += session.finish()``; the final utterances of `out`, in order, are the leg's transcript.

    Parameters
    ----------
    recogniser : Recogniser
        Models and settings, shared by all sessions of a process (one thread).
    origin_sample : int
        Call time of the leg's first sample, at 8 kHz.
    place : Place, optional
        Where a successor takes the leg up: the `place` of the utterance that was not final yet. Everything that
        comes out from there on is the same as in the session that heard the whole leg.
    heard_from : int, optional
        The sample that the next `accept` begins with when it is not `origin_sample`; at most
        :func:`needed_from`, or the beginning is heard as silence.

    Attributes
    ----------
    place : Place
        Where the utterance that is being heard begins.
    settled_ms : int
        Call time up to which nothing will be told any more: no later utterance has a word that starts before it.
    """

    def __init__(
        self,
        recogniser: Recogniser,
        origin_sample: int = 0,
        place: Place | None = None,
        heard_from: int | None = None,
    ) -> None:
        self._recogniser = recogniser
        self._settings = recogniser.settings
        self._listening = recogniser.model.listening
        self._origin = origin_sample
        self.place = place or Place(origin_sample)
        self.settled_ms = self.place.first_sample // 8
        self._features = recogniser.model.features()
        self._utterance_frame = (self.place.first_sample - origin_sample) // self._listening.output_samples
        self.network: ScoreStream = recogniser.model.stream(self._utterance_frame)
        """The leg's inference: it wants what `prepare` returns."""
        self._search: BeamSearch = recogniser.search(self.place.graph_state)
        self._kept: list[Float32] = []
        none: Float32 = np.empty((0, recogniser.model.pdfs), np.float32)
        self._held = none
        """Frames that wait for the rest of their step on the grid."""
        self._carried = none
        """Frames behind the last cut, which the next utterance begins with."""
        self._partial = self._partial_words()
        self._revision = 0
        self._audio = None if recogniser.second is None else HeardAudio()
        # Samples and feature frames of a leg taken up in the middle start somewhere behind the origin.
        needed = needed_from(recogniser, origin_sample, self.place.first_sample)
        begin = origin_sample if heard_from is None else heard_from
        self._end_sample = begin
        self._feature_index = (needed - origin_sample) // self._listening.feature_samples
        self._skip = needed - begin
        """Samples to leave out, or, below zero, to hear as silence first."""

    @property
    def model(self) -> AcousticScorer:
        """What scores this leg's sound."""
        return self._recogniser.model

    @property
    def end_sample(self) -> int:
        """The sample after the last one heard."""
        return self._end_sample

    @property
    def needed_from(self) -> int:
        """First sample that a successor has to hear."""
        return needed_from(self._recogniser, self._origin, self.place.first_sample)

    def accept(self, samples: Float32) -> list[Utterance]:
        """Hear `samples` and return what can be told now, in order.

        Parameters
        ----------
        samples : float32[n]
            In [-1, 1) at 8 kHz, following those before.

        Returns
        -------
        list of Utterance
            Any number of finals and partials. A final one comes when the network has looked ahead of the endpoint,
            which lies the endpoint's silence behind its last word.

        Raises
        ------
        ValueError
            `samples` is not a one-dimensional float32 array.
        """
        return self.tell(self.network.accept(self.prepare(samples)))

    def prepare(self, samples: Float32) -> Float32:
        """The first third of `accept`: hear `samples` and return the features that `network` wants next."""
        if self._audio is not None:
            self._audio.append(self._end_sample, samples)
        self._end_sample += len(samples)
        if self._skip < 0:
            samples = np.concatenate((np.zeros(-self._skip, np.float32), samples))
            self._skip = 0
        elif self._skip > 0:
            skipped = min(self._skip, len(samples))
            self._skip -= skipped
            samples = samples[skipped:]
        block = self._features.accept(samples)
        first = self.network.first_feature - self._feature_index
        self._feature_index += len(block)
        return block[max(0, first) :]

    def tell(self, scores: Float32) -> list[Utterance]:
        """The last third of `accept`: take what `network` made of the features, and say what can be told."""
        held = np.concatenate((self._held, scores))
        whole = max(0, len(held) - self.network.frames % self._listening.step_frames)
        self._held = held[whole:]
        return self._tell(held[:whole], self.network.frames - len(self._held))

    def finish(self) -> list[Utterance]:
        """Return what is left, after the leg's last sample; the session is used up."""
        scores = np.concatenate((self._held, self.network.finish()))
        told = self._tell(scores, self.network.frames)
        if self._search.frames:
            told += self._final(self._search.finish(), self._search.frames)
        self.settled_ms = self._end_sample // 8
        return told

    def _tell(self, scores: Float32, end_frame: int) -> list[Utterance]:
        """Search the leg's frames before `end_frame`, step by step on the grid."""
        told: list[Utterance] = []
        frame_ms = self._listening.frame_ms
        waiting = deque(self._on_grid(scores, end_frame - len(scores)))
        while waiting:
            piece = waiting.popleft()
            self._search.advance(piece)
            self._kept.append(piece)
            frames, silence = self._search.frames, self._search.trailing_silence_frames()
            rule = self._settings.endpoint.rule(
                frames * frame_ms, silence * frame_ms, self._search.final_relative_cost
            )
            if rule is None:
                if silence >= frames:
                    margin = self._settings.settle_margin_ms
                    self.settled_ms = max(self.settled_ms, self._ms(frames) - margin)
                else:
                    told += self._tell_partial()
                continue
            told += self._end(rule)
            waiting.extendleft(reversed(self._on_grid(self._carried, self._utterance_frame)))
        return told

    def _end(self, rule: EndpointRule) -> list[Utterance]:
        """End the utterance by `rule`."""
        search = self._search
        if rule is EndpointRule.TOO_LONG:
            return self._ended(*self._recogniser.cut(search, self._scores()))
        decided_ms = self._ms(search.frames)
        cut = search.frames - min(self._settings.carried_frames, search.trailing_silence_frames() // 2)
        if rule in (EndpointRule.PAUSE, EndpointRule.LONG_PAUSE):
            # The sentence does not seem to be over: the next utterance goes on with it, in the best path's state.
            return self._final(search.partial(), cut, decided_ms, self._recogniser.best_state(search))
        return self._final(search.finish(), cut, decided_ms)

    def _on_grid(self, scores: Float32, frame: int) -> list[Float32]:
        """Cut `scores`, whose first row is output `frame` of the leg, where the grid does."""
        step = self._listening.step_frames
        first = step - frame % step
        return [piece for piece in np.split(scores, range(first, len(scores), step)) if len(piece)]

    def _partial_words(self) -> PartialWords:
        return PartialWords(self._settings.partials, self._listening.frame_ms)

    def _tell_partial(self) -> list[Utterance]:
        hypothesis = self._search.partial()
        agreed = self._search.agreed_words(self._settings.partials.stable_margin)
        if not self._partial.changed(hypothesis.word_ids, agreed, self._search.frames):
            return []
        told = self._utterance(SegmentStatus.PARTIAL, hypothesis, self._search.frames)
        self._revision += 1
        return [told]

    def _final(
        self, hypothesis: Hypothesis, cut: int, decided_ms: int | None = None, graph_state: int | None = None
    ) -> list[Utterance]:
        """End the utterance before its frame `cut`, after a last look at its words."""
        if hypothesis.words:
            hypothesis = self._recogniser.finalise(hypothesis, self._search, self._scores()[:cut])
        return self._ended(hypothesis, cut, decided_ms, graph_state)

    def _ended(
        self, exact: Hypothesis, cut: int, decided_ms: int | None = None, graph_state: int | None = None
    ) -> list[Utterance]:
        """Tell the utterance, which ends before its frame `cut`, and begin the next one there."""
        told = []
        if exact.words:
            last = self._heard_again(self._utterance(SegmentStatus.FINAL, exact, cut))
            told.append(replace(last, decided_ms=decided_ms))
        scores = self._scores()
        self._utterance_frame += cut
        self.place = Place(self._origin + self._utterance_frame * self._listening.output_samples, graph_state)
        self.settled_ms = max(self.settled_ms, self._ms(0))
        if self._audio is not None:
            self._audio.forget_before(self.place.first_sample)
        self._search = self._recogniser.search(graph_state)
        self._carried = scores[cut:]
        self._kept.clear()
        self._partial, self._revision = self._partial_words(), 0
        return told

    def _utterance(self, status: SegmentStatus, hypothesis: Hypothesis, end_frame: int) -> Utterance:
        words = []
        # The last frame of a leg may reach beyond its last sample.
        audio_end_ms = self._end_sample // 8
        for word in hypothesis.words:
            # Progress was told up to the settled time; a word found late to begin before it begins there.
            start = min(max(self.settled_ms, self._ms(word.start_frame)), audio_end_ms)
            end = min(max(start, self._ms(word.end_frame)), audio_end_ms)
            words.append(Word(word.text, start, end, round(word.confidence, 4)))
        end_sample = self._origin + (self._utterance_frame + end_frame) * self._listening.output_samples
        end_sample = min(end_sample, self._end_sample)
        stable = self._partial.stable if status is SegmentStatus.PARTIAL else 0
        return Utterance(status, self.place.first_sample, end_sample, tuple(words), self._revision, stable)

    def _heard_again(self, utterance: Utterance) -> Utterance:
        """Return `utterance`, with the second recogniser's words where there is one and it is surer."""
        other, settings = self._recogniser.second, self._settings.second_recogniser
        if other is None or self._audio is None or not settings.wanted(utterance.words):
            return utterance
        first = utterance.first_sample
        samples = self._audio.between(first, utterance.end_sample)
        words = second_opinion(utterance.words, other, settings, samples, first, self.settled_ms)
        return replace(utterance, words=words)

    def _scores(self) -> Float32:
        return np.concatenate(self._kept)

    def _ms(self, frame: int) -> int:
        """Call time of the utterance's frame `frame`."""
        return (self._origin + (self._utterance_frame + frame) * self._listening.output_samples) // 8


def scored_together(
    model: AcousticScorer, streams: Sequence[ScoreStream], features: Sequence[Float32]
) -> list[Float32]:
    """Return the log likelihoods that the features complete, leg by leg: in one pass where `model` can do that."""
    together = getattr(model, "accept_many", None)
    if together is None:
        return [stream.accept(block) for stream, block in zip(streams, features, strict=True)]
    scores: list[Float32] = together(streams, features)
    return scores


def hear_together(sessions: Sequence[RecognitionSession], pieces: Sequence[Float32]) -> list[list[Utterance]]:
    """As ``session.accept(samples)`` for each of several sessions of one recogniser, in one pass of the network."""
    if not sessions:
        return []
    features = [session.prepare(samples) for session, samples in zip(sessions, pieces, strict=True)]
    streams = [session.network for session in sessions]
    scores = scored_together(sessions[0].model, streams, features)
    return [session.tell(rows) for session, rows in zip(sessions, scores, strict=True)]


def needed_from(recogniser: Recogniser, origin_sample: int, first_sample: int) -> int:
    """Return the first sample to hear for recognising a leg from `first_sample` on as if all had been heard.

    Before the utterance lie what the network looks back on and, of ours, the window of the features' mean (6 s).
    """
    listening = recogniser.model.listening
    frame = (first_sample - origin_sample) // listening.output_samples
    feature = recogniser.model.first_feature(frame) - listening.feature_history
    return origin_sample + max(0, feature) * listening.feature_samples
