"""When each word and phone of a known text was said: for transcripts that came without times, and to cut training data.

`word_alignment` times what the recogniser itself heard, utterance by utterance. Here the text comes from outside, may
be an hour long, may have words that the lexicon lacks, and may leave out things that were said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from events.errors import CallwardenError
from recognizer.acoustic_model import AcousticModel
from recognizer.alignment_chain import BETWEEN, UNWRITTEN, AlignmentChain, build_chain
from recognizer.alignment_trellis import Trellis
from recognizer.decodable import AcousticScorer
from recognizer.hmm_topology import HmmTopology
from recognizer.lexicon import Lexicon, read_lexicon
from recognizer.model_pack import DEFAULT_PACK, PackSources, read_manifest

Float32 = NDArray[np.float32]
Pronounce = Callable[[str], Sequence[tuple[str, ...]]]
Audio = Callable[[], Iterable[Float32]]
"""Makes the recording's samples, float32[n] at 8 kHz, block by block; called again when the beam has to be wider."""

_NAMED_WORDS: Final = 5


class AlignmentError(CallwardenError):
    """The text cannot be laid over the recording; the sentence names places in the text, never its words."""


@dataclass(frozen=True)
class AlignmentSettings:
    """How a text is laid over a recording.

    Attributes
    ----------
    beam, widest_beam : float
        First, and when no path is left, in scaled log likelihood.
    unwritten : bool
        Allow speech that the text does not have.
    unwritten_cost : float
        How much worse than the best of all states a frame of unwritten speech counts; words that are said so badly
        that they score worse are taken for something else.
    unwritten_entry_cost : float
    """

    beam: float = 200.0
    widest_beam: float = 1000.0
    unwritten: bool = True
    unwritten_cost: float = 2.0
    unwritten_entry_cost: float = 12.0

    def __post_init__(self) -> None:
        if not 0 < self.beam <= self.widest_beam or min(self.unwritten_cost, self.unwritten_entry_cost) < 0:
            raise ValueError(
                "Beams of an alignment are positive and rise; costs of unwritten speech are not negative."
            )


@dataclass(frozen=True, slots=True)
class TimedPhone:
    """A phone and when it was said."""

    phone: str
    start_ms: int
    end_ms: int


@dataclass(frozen=True, slots=True)
class TimedWord:
    """A word of the text and when it was said.

    Attributes
    ----------
    text : str
    start_ms, end_ms : int
    score : float
        Mean over its frames of the scaled log likelihood of the aligned state less that of the best state: 0 is a word
        that sounds just as written; a few below is usual; far below means that it was not said there.
    phones : tuple of TimedPhone
        Of the pronunciation that fitted best.
    """

    text: str
    start_ms: int
    end_ms: int
    score: float
    phones: tuple[TimedPhone, ...]


@dataclass(frozen=True, slots=True)
class Alignment:
    """A text laid over a recording.

    Attributes
    ----------
    words : tuple of TimedWord
        All words of the text, in order.
    unwritten : tuple of (int, int)
        Spans in ms in which something was said, or sounded, that the text does not have.
    duration_ms : int
    """

    words: tuple[TimedWord, ...]
    unwritten: tuple[tuple[int, int], ...]
    duration_ms: int


class ForcedAligner:
    """Lays known texts over recordings.

    Parameters
    ----------
    model, topology
        The network and its states.
    lexicon : mapping
        Pronunciations (phones by name) by word.
    pronounce : callable, optional
        Pronunciations of a word that the lexicon lacks; without it such words are refused.
    """

    def __init__(
        self,
        model: AcousticScorer,
        topology: HmmTopology,
        lexicon: Lexicon,
        settings: AlignmentSettings | None = None,
        pronounce: Pronounce | None = None,
    ) -> None:
        if model.pdfs != topology.pdfs:
            raise ValueError("The acoustic model and the states do not belong together.")
        self._model = model
        self._topology = topology
        self._lexicon = lexicon
        self._settings = settings or AlignmentSettings()
        self._pronounce = pronounce
        self._label = {phone: i + 1 for i, phone in enumerate(topology.phones)}

    @classmethod
    def of_pack(
        cls,
        folder: Path = DEFAULT_PACK,
        settings: AlignmentSettings | None = None,
        pronounce: Pronounce | None = None,
    ) -> ForcedAligner:
        """Make the aligner of a model pack; its graph is not needed and not unpacked.

        Raises
        ------
        ModelPackError, LexiconError, AcousticModelError
            The pack cannot be used, or its model is of another kind than ours.
        """
        sources = PackSources.of(folder).with_own_network("To align a text")
        topology = HmmTopology.load(sources.acoustic, sources.phones)
        model = AcousticModel.load(sources.acoustic, float(read_manifest(folder)["acoustic_scale"]))
        return cls(model, topology, read_lexicon(sources.lexicon, sources.phones), settings, pronounce)

    @property
    def topology(self) -> HmmTopology:
        """Phones and states."""
        return self._topology

    @property
    def lexicon(self) -> Mapping[str, Sequence[tuple[str, ...]]]:
        """Pronunciations by word."""
        return self._lexicon

    def align(self, words: Sequence[str], audio: Audio) -> Alignment:
        """Return when each of `words` was said.

        Parameters
        ----------
        words : sequence of str
            In the lexicon's spelling.
        audio : callable
            Gives the whole recording's samples, block by block, each time it is called.

        Raises
        ------
        AlignmentError
            A word has no pronunciation, or the text cannot have been said in so short a time.
        """
        chain = build_chain(self._pronunciations(words), self._topology, self._settings.unwritten)
        beam = self._settings.beam
        while True:
            trellis = Trellis(
                chain,
                self._topology,
                beam,
                self._settings.unwritten_cost,
                self._settings.unwritten_entry_cost,
            )
            samples = self._hear(audio, trellis)
            if not trellis.frames:
                raise AlignmentError("The recording is too short to hold a word.")
            found = trellis.finish()
            if found is not None:
                return self._timed(words, chain, *found, samples)
            if beam >= self._settings.widest_beam:
                raise AlignmentError(
                    f"The text does not fit the recording: its {len(words):,} words were not found in "
                    f"{samples / 8000:.0f} s."
                )
            beam = min(4 * beam, self._settings.widest_beam)

    def _hear(self, audio: Audio, trellis: Trellis) -> int:
        """Let `trellis` hear everything; returns the number of samples."""
        features, stream = self._model.features(), self._model.stream()
        samples = 0
        for block in audio():
            samples += block.size
            trellis.advance(stream.accept(features.accept(block)))
        trellis.advance(stream.finish())
        return samples

    def _pronunciations(self, words: Sequence[str]) -> list[list[tuple[int, ...]]]:
        known: dict[str, list[tuple[int, ...]]] = {}
        missing = []
        for place, word in enumerate(words, 1):
            if word not in known:
                variants = self._lexicon.get(word) or (self._pronounce(word) if self._pronounce else ())
                labels = [
                    tuple(self._label[phone] for phone in variant if phone in self._label) for variant in variants
                ]
                known[word] = list(dict.fromkeys(variant for variant in labels if variant))
            if not known[word]:
                missing.append(place)
        if missing:
            named = ", ".join(str(place) for place in missing[:_NAMED_WORDS])
            more = ", ..." if len(missing) > _NAMED_WORDS else ""
            raise AlignmentError(
                f"{len(missing)} of {len(words):,} words of the text have no pronunciation (word {named}{more}); "
                "write them as they are said, in letters."
            )
        return [known[word] for word in words]

    def _timed(
        self, words: Sequence[str], chain: AlignmentChain, path: NDArray[np.int32], gain: Float32, samples: int
    ) -> Alignment:
        """Turn nodes per frame into words and phones with times."""
        frame_ms = self._model.listening.output_samples / 8
        duration_ms = samples // 8
        edges = np.flatnonzero(np.diff(path)) + 1
        starts, ends = np.concatenate(([0], edges)), np.concatenate((edges, [len(path)]))

        def moment(frame: int) -> int:
            return min(round(frame * frame_ms), duration_ms)

        phones: list[list[TimedPhone]] = [[] for _ in words]
        sums, frames = np.zeros(len(words)), np.zeros(len(words), np.int64)
        unwritten: list[tuple[int, int]] = []
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
            node = path[start]
            number = int(chain.word[node])
            if number == UNWRITTEN:
                unwritten.append((moment(start), moment(end)))
            if number in (BETWEEN, UNWRITTEN):
                continue
            name = self._topology.phones[chain.phone[node] - 1]
            phones[number].append(TimedPhone(name, moment(start), moment(end)))
            sums[number] += gain[start:end].sum()
            frames[number] += end - start
        timed = tuple(
            TimedWord(text, spoken[0].start_ms, spoken[-1].end_ms, round(total / count, 2), tuple(spoken))
            for text, spoken, total, count in zip(words, phones, sums.tolist(), frames.tolist(), strict=True)
        )
        return Alignment(timed, tuple(unwritten), duration_ms)
