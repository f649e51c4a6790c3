"""What all legs of a process share: acoustic model, graph, settings and the search's working arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from events import metrics
from recognizer.beam_search import BeamSearch, BeamSearchSettings, Hypothesis, SearchScratch
from recognizer.confidence import ConfidenceModel, timed
from recognizer.ctc_alignment import CtcAligner
from recognizer.decodable import AcousticScorer
from recognizer.endpoint import EndpointSettings
from recognizer.graph import Graph
from recognizer.lattice import Lattice
from recognizer.model_pack import ModelPack
from recognizer.partial_words import PartialSettings
from recognizer.quantised import WeightForm
from recognizer.rescoring import LatticeRescorer, RescoringSettings
from recognizer.rescoring_models import rescorer_of_pack
from recognizer.second_pass import SecondPassSettings, second_pass
from recognizer.second_recogniser import SecondRecogniser, SecondRecogniserSettings, open_second_recogniser
from recognizer.word_alignment import AlignedWord, WordAligner


@dataclass(frozen=True)
class RecogniserSettings:
    """How legs are recognised.

    Attributes
    ----------
    search, endpoint
        Of the beam search and of the utterances' ends.
    partials : PartialSettings
        When guesses at the words being spoken are told.
    weights : str
        Whether the network computes with ``float32`` or ``int8``; or as its pack has them.
    settle_margin_ms : int
        In silence, progress stays so far behind the audio, for the search may still find that a word has begun.
    carried_frames : int
        How much of the silence at an utterance's end (30 ms frames, half of it at most) is heard again as the
        beginning of the next one, whose first sound the search may not have noticed yet.
    keep_lattice : bool
        Whether final hypotheses carry their lattices. That of a cut utterance goes on behind the cut.
    second_pass : SecondPassSettings
        Which utterances are looked at again; none unless told otherwise.
    rescoring : RescoringSettings
        How much the second pass believes the pack's bigger language model, if it has one.
    second_recogniser : SecondRecogniserSettings
        Whether another recogniser hears again what this one is not sure of.
    """

    search: BeamSearchSettings = field(default_factory=BeamSearchSettings)
    endpoint: EndpointSettings = field(default_factory=EndpointSettings)
    partials: PartialSettings = field(default_factory=PartialSettings)
    weights: WeightForm = "int8"
    settle_margin_ms: int = 480
    carried_frames: int = 8
    keep_lattice: bool = False
    second_pass: SecondPassSettings = field(default_factory=SecondPassSettings)
    rescoring: RescoringSettings = field(default_factory=RescoringSettings)
    second_recogniser: SecondRecogniserSettings = field(default_factory=SecondRecogniserSettings)

    def __post_init__(self) -> None:
        if min(self.settle_margin_ms, self.carried_frames) < 0:
            raise ValueError("The settle margin and the carried frames must not be negative.")
        if self.settle_margin_ms >= self.endpoint.nothing_said_ms:
            raise ValueError("The settle margin must be shorter than the silence after which nothing was said.")


@dataclass(frozen=True, slots=True)
class Found:
    """What an utterance is in the end, after all passes.

    Attributes
    ----------
    hypothesis : Hypothesis
        With exact word times and confidences, if there is an alignment.
    alignment : sequence of AlignedWord, optional
        Of its words; None if they do not fit into what was heard.
    lattice : Lattice, optional
        That it is the best path of; None where nothing was said.
    """

    hypothesis: Hypothesis
    alignment: Sequence[AlignedWord] | None
    lattice: Lattice | None


class Recogniser:
    """Models and settings of one thread; sessions and searches are made from it."""

    def __init__(
        self,
        model: AcousticScorer,
        graph: Graph,
        aligner: WordAligner | CtcAligner,
        confidence: ConfidenceModel,
        settings: RecogniserSettings | None = None,
        rescorer: LatticeRescorer | None = None,
        second: SecondRecogniser | None = None,
    ) -> None:
        if model.pdfs != graph.pdfs:
            raise ValueError(
                f"The acoustic model scores {model.pdfs} states, the recognition graph has {graph.pdfs}."
            )
        self.model = model
        self.graph = graph
        self.settings = settings or RecogniserSettings()
        self.second = second
        self._aligner = aligner
        self._confidence = confidence
        self._rescorer = rescorer
        self._scratch = SearchScratch()

    @classmethod
    def of_pack(cls, pack: ModelPack, settings: RecogniserSettings | None = None) -> Recogniser:
        """Make the recogniser of a model pack.

        Raises
        ------
        ValueError
            The pack's network cannot be read, or what it needs is not installed (AcousticModelError, OnnxError);
            its language model for the second pass (ModelPackError) or the second recogniser
            (SecondRecogniserError) cannot be used.
        """
        settings = settings or RecogniserSettings()
        model = pack.open_acoustic(settings.weights)
        rescorer = rescorer_of_pack(pack, settings.rescoring) if settings.second_pass.below_confidence else None
        second = open_second_recogniser(settings.second_recogniser)
        return cls(model, pack.graph, pack.aligner, pack.confidence, settings, rescorer, second)

    def search(self, graph_state: int | None = None) -> BeamSearch:
        """Return a new utterance's search, which begins a sentence or, in `graph_state`, goes on with one."""
        return BeamSearch(self.graph, self.settings.search, self._scratch, graph_state)

    @staticmethod
    def best_state(search: BeamSearch) -> int | None:
        """Return the graph's state in which the best path stands; None when no path survived."""
        return search.best_state()

    def finalise(self, hypothesis: Hypothesis, search: BeamSearch, scores: NDArray[np.float32]) -> Hypothesis:
        """Return `hypothesis` with exact word times and confidences, after a second pass where it is unsure.

        Parameters
        ----------
        hypothesis : Hypothesis
            From `search`, which has not gone on since.
        search : BeamSearch
        scores : float32[frames, pdfs]
            What `search` heard, or its beginning if `hypothesis` ends there.
        """
        found = self.found(hypothesis, search, scores)
        return replace(found.hypothesis, lattice=found.lattice) if self.settings.keep_lattice else found.hypothesis

    def found(self, hypothesis: Hypothesis, search: BeamSearch, scores: NDArray[np.float32]) -> Found:
        """As `finalise`, with what the confidences were made of."""
        lattice = search.lattice(hypothesis.reached_final) if hypothesis.words else None
        settings = self.settings.second_pass
        first = None
        if not hypothesis.words or not self._looks_again(search) or settings.below_confidence < 1:
            first = self._timed(hypothesis, lattice, scores)
            if not self._looks_again(search) or not settings.wanted(first.hypothesis):
                return first
        metrics.count(metrics.SECOND_PASSES)
        better, its_lattice = second_pass(
            hypothesis, search, lattice, scores, settings, self._scratch, self._rescorer
        )
        again = self._timed(better, its_lattice, scores)
        if again.alignment is not None:
            return again
        return first or self._timed(hypothesis, lattice, scores)

    def _looks_again(self, search: BeamSearch) -> bool:
        """Whether a second pass could find anything that the first has not."""
        settings = self.settings.second_pass
        return settings.below_confidence > 0 and (
            self._rescorer is not None or settings.beam > search.settings.beam
        )

    def _timed(self, hypothesis: Hypothesis, lattice: Lattice | None, scores: NDArray[np.float32]) -> Found:
        aligned = self._aligner.align(hypothesis.word_ids, scores)
        return Found(timed(hypothesis, aligned, lattice, self._confidence), aligned, lattice)

    def cut(self, search: BeamSearch, scores: NDArray[np.float32]) -> tuple[Hypothesis, int]:
        """Say where to cut an utterance that does not end: its words before the cut, and the cut's frame.

        The cut lies in the longest pause between two words of the utterance's second half, the latest of equals.
        The words are as `finalise` has them: what is heard behind the cut must not be told before it.
        """
        hypothesis = self.finalise(search.partial(), search, scores)
        words = hypothesis.words
        best, place = -1, len(words)
        for i in range(1, len(words)):
            pause = words[i].start_frame - words[i - 1].end_frame
            if 2 * words[i - 1].end_frame >= hypothesis.frames and pause >= best:
                best, place = pause, i
        if place == len(words):
            return hypothesis, hypothesis.frames
        cut = (words[place - 1].end_frame + words[place].start_frame) // 2
        before = replace(
            hypothesis,
            words=words[:place],
            word_ids=hypothesis.word_ids[:place],
        )
        return before, cut
