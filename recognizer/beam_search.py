"""Token passing over the recognition graph, frame by frame, with pruning: our own beam search.

A *token* is the best path so far into one state of the graph: its cost, the last word it crossed, and the last
frame in which it was in speech. Per frame every token within the beam crosses the emitting arcs of its state, then
the arcs without input label; of two tokens that meet in a state the cheaper one stays. Costs are negative natural
logarithms: arc weight minus the *already scaled* log likelihood of the arc's pdf.

The search takes any number of frames at a time; the result does not depend on how they are split. What a leg keeps
between two calls is its list of tokens (16 bytes each, a few thousand) and its word history; the large working
arrays belong to a :class:`SearchScratch` that all legs of one thread share. History that no living path can reach
any more is collected when it grows, so that the memory of a long utterance is bounded by its number of words on
living paths, not by its length.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from recognizer.graph import Graph
from recognizer.token_passing import GLIMPSE, HISTORY, TOKEN, collect_history, pass_tokens

Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class BeamSearchSettings:
    """How much the search looks at.

    Attributes
    ----------
    beam : float
        Tokens worse than the best one by more than this cost are dropped.
    max_active : int
        At most about this many tokens are expanded per frame (chosen by a histogram over the beam).
    beam_delta : float
        Added to the narrower beam that `max_active` implies, when tokens of the next frame are judged.
    glimpse_stride_frames : int
        Every so many frames the best tokens are remembered for :mod:`recognizer.confidence`; 0 switches it off.
    glimpse_beam : float
        How far from the best a remembered token may be.
    """

    beam: float = 12.0
    max_active: int = 5000
    beam_delta: float = 0.5
    glimpse_stride_frames: int = 4
    glimpse_beam: float = 5.0

    def __post_init__(self) -> None:
        if not (self.beam > 0 and math.isfinite(self.beam)):
            raise ValueError("The beam must be a positive finite cost.")
        if self.max_active < 1:
            raise ValueError("At least one token has to stay active.")
        if not 0 <= self.beam_delta <= self.beam:
            raise ValueError("The beam delta must lie between zero and the beam.")
        if self.glimpse_stride_frames < 0 or not 0 < self.glimpse_beam <= self.beam:
            raise ValueError("The glimpse stride must not be negative and its beam must lie within the beam.")


@dataclass(frozen=True)
class HypothesisWord:
    """One recognised word; frames count from the utterance's first, the end is exclusive.

    Straight from the search the frames tell only where the graph emitted the word; after
    :class:`recognizer.word_alignment.WordAligner` they are where it was said. `confidence` is the estimated
    probability that the word is right, 0 where nobody has estimated it yet.
    """

    text: str
    start_frame: int
    end_frame: int
    confidence: float = 0.0


@dataclass(frozen=True)
class Hypothesis:
    """A path through the graph.

    Attributes
    ----------
    words : tuple of HypothesisWord
    word_ids : tuple of int
        The same words as rows of the graph's word table.
    history : tuple of int
        Per word its record in the search that made this; valid until the search goes on.
    cost : float
        Path cost, with the final cost if `reached_final`; ``inf`` if no path survived.
    frames : int
        Frames heard.
    reached_final : bool
        Whether the path ends in a final state of the graph.
    """

    words: tuple[HypothesisWord, ...]
    word_ids: tuple[int, ...]
    cost: float
    frames: int
    reached_final: bool
    history: tuple[int, ...] = field(default=(), compare=False)

    @property
    def text(self) -> str:
        """The words with single spaces between."""
        return " ".join(word.text for word in self.words)


class Decodable(Protocol):
    """What the search asks of an acoustic model: two questions (after Kaldi's ``itf/decodable-itf.h``)."""

    def frames_ready(self) -> int:
        """Frames whose scores can be asked for now, counted from the utterance's start."""

    def log_likelihoods(self, first: int, last: int) -> Float32:
        """Scaled log likelihoods of the frames from `first` up to, not including, `last`: (frames, pdfs)."""


class SearchScratch:
    """Working arrays, shared by the searches of one thread; they grow to the largest need and stay."""

    def __init__(self) -> None:
        self.tokens = np.empty(1 << 14, TOKEN)
        self.next_tokens = np.empty(1 << 14, TOKEN)
        self.table = np.empty(1 << 15, np.int32)
        self.queue = np.empty(1 << 14, np.int32)


class BeamSearch:
    """The search of one leg.

    Parameters
    ----------
    graph : Graph
    settings : BeamSearchSettings
    scratch : SearchScratch, optional
        Give all searches of a thread the same one to save memory.
    start : int, optional
        State to begin in instead of the graph's start: where an earlier search stood (:meth:`best_state`), to go on
        with its sentence.
    """

    def __init__(
        self,
        graph: Graph,
        settings: BeamSearchSettings | None = None,
        scratch: SearchScratch | None = None,
        start: int | None = None,
    ) -> None:
        self._start = graph.start if start is None else start
        if not 0 <= self._start < graph.state_count:
            raise ValueError(f"The recognition graph has no state {self._start} to begin in.")
        self.graph = graph
        self.settings = settings or BeamSearchSettings()
        self._scratch = scratch or SearchScratch()
        self._silence = np.zeros(graph.pdfs, np.bool_)
        self._silence[list(graph.silence_pdfs)] = True
        self.reset()

    def reset(self) -> None:
        """Forget everything; the next frame is an utterance's first."""
        self.frames = 0
        self._offset = 0.0  # costs of the tokens are relative to it: float32 would lose digits in long utterances
        self._tokens = np.zeros(1, TOKEN)
        self._tokens["state"] = self._start
        self._tokens["history"] = self._tokens["speech"] = -1
        self._history = np.empty(1 << 10, HISTORY)
        self._history_length = 0
        self._glimpses = np.empty(1 << 8, GLIMPSE)
        self._glimpses_length = 0
        self._collect_at = 1 << 16
        self._pass(np.empty((0, self.graph.pdfs), np.float32), first=True)

    def advance(self, log_likelihoods: Float32) -> None:
        """Consume frames.

        Parameters
        ----------
        log_likelihoods : float32[frames, pdfs]
            Log likelihoods, already multiplied by the acoustic scale. Any number of frames, also none.

        Raises
        ------
        ValueError
            If the array has another shape or is not made of finite numbers.
        """
        scores = np.ascontiguousarray(log_likelihoods, np.float32)
        if scores.ndim != 2 or scores.shape[1] != self.graph.pdfs:
            raise ValueError(
                f"The graph needs {self.graph.pdfs} scores per frame, the array has shape {scores.shape}."
            )
        if not np.isfinite(scores).all():
            raise ValueError("The scores of a frame must be finite numbers.")
        if len(scores):
            self._pass(scores, first=False)
        if self._history_length > self._collect_at:
            self._collect()

    def decode(self, source: Decodable) -> None:
        """Consume every frame that `source` has ready and that was not consumed yet."""
        ready = source.frames_ready()
        if ready > self.frames:
            self.advance(source.log_likelihoods(self.frames, ready))

    def partial(self) -> Hypothesis:
        """Return the best path now, wherever in the graph it stands; final costs do not count."""
        return self._trace(self._tokens["cost"], reached_final=False)

    def finish(self) -> Hypothesis:
        """Return the best path that ends in a final state or, if there is none, the best path.

        `reached_final` tells which. The search stays as it is: more frames may follow.
        """
        costs = self._tokens["cost"] + self.graph.states["final"][self._tokens["state"]]
        if len(costs) and np.isfinite(costs.min()):
            return self._trace(costs, reached_final=True)
        return self.partial()

    def best_state(self) -> int | None:
        """State in which the best path stands; None if no path survived."""
        if not len(self._tokens):
            return None
        return int(self._tokens["state"][self._tokens["cost"].argmin()])

    def trailing_silence_frames(self) -> int:
        """Frames of silence at the end of the best path; all frames if it never was in speech."""
        if not len(self._tokens):
            return 0
        return self.frames - 1 - int(self._tokens["speech"][self._tokens["cost"].argmin()])

    def final_relative_cost(self) -> float:
        """How much worse the best ending path is than the best path; ``inf`` if none can end here.

        As Kaldi's ``FinalRelativeCost``, which its endpointing rules use: small means that a sentence may end now.
        """
        costs = self._tokens["cost"]
        if not len(costs):
            return math.inf
        return float((costs + self.graph.states["final"][self._tokens["state"]]).min() - costs.min())

    def glimpses(self) -> NDArray[np.void]:
        """Remembered tokens: GLIMPSE records (frame, history, cost above the frame's best)."""
        return self._glimpses[: self._glimpses_length]

    def history(self) -> NDArray[np.void]:
        """Word history: HISTORY records (previous record or -1, word, frame)."""
        return self._history[: self._history_length]

    def _pass(self, scores: Float32, first: bool) -> None:
        scratch, settings = self._scratch, self.settings
        count = len(self._tokens)
        if count > len(scratch.tokens):
            scratch.tokens = np.empty(2 * count, TOKEN)
        scratch.tokens[:count] = self._tokens
        (
            count,
            self._offset,
            scratch.tokens,
            scratch.next_tokens,
            scratch.table,
            scratch.queue,
            self._history,
            self._history_length,
            self._glimpses,
            self._glimpses_length,
        ) = pass_tokens(
            self.graph.states,
            self.graph.arcs,
            self._silence,
            scores,
            first,
            self.frames,
            np.float32(settings.beam),
            settings.max_active,
            np.float32(settings.beam_delta),
            settings.glimpse_stride_frames,
            np.float32(settings.glimpse_beam),
            count,
            self._offset,
            scratch.tokens,
            scratch.next_tokens,
            scratch.table,
            scratch.queue,
            self._history,
            self._history_length,
            self._glimpses,
            self._glimpses_length,
        )
        self._tokens = scratch.tokens[:count].copy()
        self.frames += len(scores)

    def _collect(self) -> None:
        self._history_length = collect_history(self._history, self._history_length, self._tokens, self.glimpses())
        self._collect_at = max(1 << 16, 2 * self._history_length)

    def _trace(self, costs: Float32, reached_final: bool) -> Hypothesis:
        if not len(costs):
            return Hypothesis((), (), math.inf, self.frames, False)
        best = int(costs.argmin())
        records: list[int] = []
        record = int(self._tokens["history"][best])
        while record >= 0:
            records.append(record)
            record = int(self._history["previous"][record])
        records.reverse()
        ids = [int(self._history["word"][r]) for r in records]
        frames = [max(0, int(self._history["frame"][r])) for r in records] + [self.frames]
        words = tuple(
            HypothesisWord(self.graph.words[word], frames[i], max(frames[i] + 1, frames[i + 1]))
            for i, word in enumerate(ids)
        )
        cost = self._offset + float(costs[best])
        return Hypothesis(words, tuple(ids), cost, self.frames, reached_final, tuple(records))
