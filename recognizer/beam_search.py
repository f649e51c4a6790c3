"""Token passing over the recognition graph, frame by frame, with pruning: our own beam search.

A *token* is the best path so far into one state of the graph. Per frame every token within the beam crosses the
emitting arcs of its state, then the arcs without input label; of two tokens that meet in a state the cheaper one
stays, and the other is remembered when it is at most the lattice beam worse. Costs are negative natural logarithms:
arc weight minus the *already scaled* log likelihood of the arc's pdf.

The search takes any number of frames at a time; the result does not depend on how they are split. What a leg keeps
is a trellis (:mod:`recognizer.token_passing`) of the tokens that the best paths to any living token, and paths at
most the lattice beam worse, go through; every `forget_every_frames` the rest is dropped. The other working arrays
belong to a :class:`SearchScratch` that all legs of one thread share.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recognizer.decodable import Decodable
from recognizer.graph import Graph
from recognizer.lattice import Lattice
from recognizer.lattice_determinise import determinise
from recognizer.token_passing import LINK, TOKEN, begin_tokens, pass_tokens
from recognizer.trellis import agreed_words, best_path, forget, last_speech, state_lattice

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
    lattice_beam : float
        A lattice holds the word sequences that cost at most so much more than the best; 0: the best one only.
    lattice_entries : int
        Of the moments at which a word sequence may have come to its last word, at most so many, the most promising
        ones, are told apart when a lattice is made. With one, lattices are a third smaller and sooner made, and no
        worse to choose from; costs of paths that are not the best may come out too high.
    forget_every_frames : int
        How often what no living path needs is dropped.
    """

    beam: float = 12.0
    max_active: int = 5000
    beam_delta: float = 0.5
    lattice_beam: float = 6.0
    lattice_entries: int = 1
    forget_every_frames: int = 16

    def __post_init__(self) -> None:
        if not (self.beam > 0 and math.isfinite(self.beam)):
            raise ValueError("The beam must be a positive finite cost.")
        if self.max_active < 1:
            raise ValueError("At least one token has to stay active.")
        if not 0 <= self.beam_delta <= self.beam:
            raise ValueError("The beam delta must lie between zero and the beam.")
        if not 0 <= self.lattice_beam <= self.beam:
            raise ValueError("The lattice beam must lie between zero and the beam.")
        if self.lattice_entries < 1 or self.forget_every_frames < 1:
            raise ValueError(
                "The search needs a positive number of lattice entries and of frames between forgetting."
            )


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
    cost : float
        Path cost, with the final cost if `reached_final`; ``inf`` if no path survived.
    frames : int
        Frames heard.
    reached_final : bool
        Whether the path ends in a final state of the graph.
    lattice : Lattice, optional
        What else may have been said; only where it was asked for.
    """

    words: tuple[HypothesisWord, ...]
    word_ids: tuple[int, ...]
    cost: float
    frames: int
    reached_final: bool
    lattice: Lattice | None = None

    @property
    def text(self) -> str:
        """The words with single spaces between."""
        return " ".join(word.text for word in self.words)


class SearchScratch:
    """Working arrays, shared by the searches of one thread; they grow to the largest need and stay."""

    def __init__(self) -> None:
        self.table = np.empty(1 << 13, np.int64)
        self.queue = np.empty(1 << 12, np.int32)


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
        self.start = graph.start if start is None else start
        if not 0 <= self.start < graph.state_count:
            raise ValueError(f"The recognition graph has no state {self.start} to begin in.")
        self.graph = graph
        self.settings = settings or BeamSearchSettings()
        self._scratch = scratch or SearchScratch()
        self._silence = np.zeros(graph.pdfs, np.bool_)
        self._silence[list(graph.silence_pdfs)] = True
        self.reset()

    def reset(self) -> None:
        """Forget everything; the next frame is an utterance's first."""
        scratch, settings = self._scratch, self.settings
        self.frames = 0
        self._tokens = np.empty(1 << 12, TOKEN)
        self._tokens[0] = (0.0, self.start, -1, -1)
        self._links = np.empty(1 << 11, LINK)
        # Costs of a layer's tokens are relative to its offset: float32 would lose digits in long utterances.
        self._offsets = np.zeros(1 << 6)
        self._first, self._first_link = np.zeros(1 << 6, np.int32), np.zeros(1 << 6, np.int32)
        self._begin = 0
        self._end, self._link_end, scratch.table, scratch.queue, self._tokens, self._links = begin_tokens(
            self.graph.states,
            self.graph.arcs,
            np.float32(settings.beam),
            np.float32(settings.lattice_beam),
            scratch.table,
            scratch.queue,
            self._tokens,
            self._links,
        )
        self._first[1], self._first_link[1] = self._end, self._link_end

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
        step = self.settings.forget_every_frames
        while len(scores):
            # Forgetting happens after fixed numbers of frames, so that it cannot depend on how they came.
            piece, scores = np.split(scores, [step - self.frames % step])
            self._pass(piece)
            if self.frames % step == 0:
                self._forget()

    def decode(self, source: Decodable) -> None:
        """Consume every frame that `source` has ready and that was not consumed yet."""
        ready = source.frames_ready()
        if ready > self.frames:
            self.advance(source.log_likelihoods(self.frames, ready))

    def partial(self) -> Hypothesis:
        """Return the best path now, wherever in the graph it stands; final costs do not count."""
        return self._trace(self._living["cost"], reached_final=False)

    def finish(self) -> Hypothesis:
        """Return the best path that ends in a final state or, if there is none, the best path.

        `reached_final` tells which. The search stays as it is: more frames may follow.
        """
        costs = self._living["cost"] + self._final_costs()
        if len(costs) and np.isfinite(costs.min()):
            return self._trace(costs, reached_final=True)
        return self.partial()

    def lattice(self, reached_final: bool, lattice_beam: float | None = None) -> Lattice | None:
        """Return what may have been said until now; None when no path survived.

        Parameters
        ----------
        reached_final : bool
            Whether its paths have to end in final states, as those of :meth:`finish` did; False: as :meth:`partial`.
        lattice_beam : float, optional
            Instead of the settings'; a greater one than theirs finds nothing more.
        """
        beam = self.settings.lattice_beam if lattice_beam is None else lattice_beam
        final = self._final_costs() if reached_final else np.zeros(len(self._living), np.float32)
        if not len(final) or not np.isfinite(final).any():
            return None
        layer, arcs, ending, origin = state_lattice(
            self._tokens,
            self._links,
            self._first,
            self._first_link,
            self._offsets,
            self.frames + 1,
            self.graph.arcs,
            final,
            np.float32(beam),
        )
        return determinise(layer, arcs, ending, origin, beam, self.settings.lattice_entries, self.frames)

    def best_state(self) -> int | None:
        """State in which the best path stands; None if no path survived."""
        living = self._living
        return int(living["state"][living["cost"].argmin()]) if len(living) else None

    def agreed_words(self, margin: float) -> int:
        """Return how many first words of the best path all paths have in common that cost at most `margin` more."""
        living = self._living
        if not len(living):
            return 0
        best = self._begin + int(living["cost"].argmin())
        agreed = agreed_words(self._tokens, self.graph.arcs, self._begin, self._end, best, np.float32(margin))
        return int(agreed)

    def trailing_silence_frames(self) -> int:
        """Frames of silence at the end of the best path; all frames if it never was in speech."""
        living = self._living
        if not len(living):
            return 0
        best = self._begin + int(living["cost"].argmin())
        spoken = last_speech(self._tokens, self._first, self.frames + 1, self.graph.arcs, self._silence, best)
        return self.frames - 1 - int(spoken)

    def final_relative_cost(self) -> float:
        """How much worse the best ending path is than the best path; ``inf`` if none can end here.

        As Kaldi's ``FinalRelativeCost``, which its endpointing rules use: small means that a sentence may end now.
        """
        costs = self._living["cost"]
        if not len(costs):
            return math.inf
        return float((costs + self._final_costs()).min() - costs.min())

    @property
    def nbytes(self) -> int:
        """Bytes that this leg's search keeps."""
        return sum(a.nbytes for a in (self._tokens, self._links, self._first, self._first_link, self._offsets))

    @property
    def _living(self) -> NDArray[np.void]:
        return self._tokens[self._begin : self._end]

    def _final_costs(self) -> Float32:
        costs: Float32 = self.graph.states["final"][self._living["state"]]
        return costs

    def _pass(self, scores: Float32) -> None:
        scratch, settings = self._scratch, self.settings
        (
            self._begin,
            self._end,
            self._link_end,
            self._first,
            self._first_link,
            self._offsets,
            scratch.table,
            scratch.queue,
            self._tokens,
            self._links,
        ) = pass_tokens(
            self.graph.states,
            self.graph.arcs,
            scores,
            np.float32(settings.beam),
            settings.max_active,
            np.float32(settings.beam_delta),
            np.float32(settings.lattice_beam),
            self.frames + 1,
            self._begin,
            self._end,
            self._link_end,
            self._first,
            self._first_link,
            self._offsets,
            scratch.table,
            scratch.queue,
            self._tokens,
            self._links,
        )
        self.frames += len(scores)

    def _forget(self) -> None:
        """Drop what no path can need any more; layers that this has been asked of three times are left alone."""
        layers = self.frames + 1
        lowest = max(1, layers - 3 * self.settings.forget_every_frames)
        self._end, self._link_end = forget(
            self._tokens,
            self._links,
            self._first,
            self._first_link,
            lowest,
            layers,
            np.float32(self.settings.lattice_beam),
        )
        self._begin = int(self._first[layers - 1])

    def _trace(self, costs: Float32, reached_final: bool) -> Hypothesis:
        if not len(costs):
            return Hypothesis((), (), math.inf, self.frames, False)
        best = int(costs.argmin())
        ids, frames = best_path(self._tokens, self._first, self.frames + 1, self.graph.arcs, self._begin + best)
        spans = [*np.maximum(frames, 0).tolist(), self.frames]
        words = tuple(
            HypothesisWord(self.graph.words[word], spans[i], max(spans[i] + 1, spans[i + 1]))
            for i, word in enumerate(ids)
        )
        cost = float(self._offsets[self.frames]) + float(costs[best])
        return Hypothesis(words, tuple(ids.tolist()), cost, self.frames, reached_final)
