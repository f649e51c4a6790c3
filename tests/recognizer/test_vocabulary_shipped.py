"""A vocabulary in the shipped graph: real speech with words that the dictionary lacks, and the graph's own paths."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dsp.resample import TELEPHONE_RATE
from events.transcript import SegmentStatus, Word
from recognizer.evaluation.audio_file import read_audio
from recognizer.hmm_topology import HmmTopology
from recognizer.lexicon import read_lexicon
from recognizer.model_pack import DEFAULT_PACK, ModelPack, PackSources
from recognizer.recogniser import Recogniser
from recognizer.session import RecognitionSession
from recognizer.vocabulary import Vocabulary, VocabularyEntry
from recognizer.vocabulary_entry_points import KnownPaths, back_off_states
from recognizer.vocabulary_install import VocabularySources, with_vocabulary

pytest.importorskip("soundfile")

AUDIO = Path(__file__).parent / "regression" / "2086-149220-0018.wav"
"""Somebody says "hepzibah" and "pyncheon" in it; no dictionary has them."""
NEW = ("Hepzibah", "Pyncheon")


@pytest.fixture(scope="module")
def pack() -> ModelPack:
    return ModelPack.load()


@pytest.fixture(scope="module")
def grown(pack: ModelPack) -> ModelPack:
    entries = [VocabularyEntry.checked(name, 5.0) for name in NEW]
    return with_vocabulary(pack, VocabularySources(Vocabulary().added(*entries), (("recorded", "line"),)))


def words_of(pack: ModelPack) -> list[Word]:
    session = RecognitionSession(Recogniser.of_pack(pack))
    samples = read_audio(AUDIO)
    told = [*session.accept(samples), *session.finish()]
    return [word for one in told if one.status is SegmentStatus.FINAL for word in one.words]


def test_words_that_no_dictionary_has_are_recognised_where_they_are_said(
    pack: ModelPack, grown: ModelPack
) -> None:
    names = {name.lower() for name in NEW}
    assert names.isdisjoint(pack.graph.words)
    assert names.isdisjoint(word.text for word in words_of(pack))
    found = [word for word in words_of(grown) if word.text in names]
    assert len(found) == 2
    length_ms = 1000 * len(read_audio(AUDIO)) // TELEPHONE_RATE
    for word in found:
        assert 150 < word.end_ms - word.start_ms < 1000
        assert 0 <= word.start_ms < word.end_ms <= length_ms
        assert word.confidence > 0.3


def test_the_shipped_graph_has_back_off_states_for_the_phones_that_end_words(pack: ModelPack) -> None:
    sources = PackSources.of(DEFAULT_PACK)
    topology = HmmTopology.load(sources.acoustic, sources.phones)
    entries = back_off_states(pack.graph, topology)
    assert entries.keys() >= set(range(len(topology.phones) + 1)) - {topology.phones.index("W") + 1}
    finals = pack.graph.states["final"][list(entries.values())]
    assert finals.min() == finals.max()


def test_the_costs_of_the_graphs_own_words_are_read_from_it(pack: ModelPack) -> None:
    """Against the order that anybody would expect; the tiny language tests the numbers themselves."""
    sources = PackSources.of(DEFAULT_PACK)
    topology = HmmTopology.load(sources.acoustic, sources.phones)
    lexicon = read_lexicon(sources.lexicon, sources.phones)
    paths = KnownPaths(pack.graph, topology, back_off_states(pack.graph, topology))

    def cost(*words: str) -> float:
        ids = [pack.graph.words.index(word) for word in words]
        spoken = [tuple(sources.phones.index(phone) + 1 for phone in lexicon[word][0]) for word in words]
        found = paths.path(ids, spoken)
        assert found is not None
        return found.cost

    assert 0 < cost("the") < cost("call") < cost("guaranteed") < 20
    assert cost("thank", "you") < cost("thank") + cost("you") - 2
    assert cost("you", "thank") > cost("thank", "you")


def test_the_graph_grows_by_little_and_keeps_its_states(pack: ModelPack, grown: ModelPack) -> None:
    assert len(grown.graph.arcs) - len(pack.graph.arcs) < 2_000
    assert (grown.graph.states["final"][: pack.graph.state_count] == pack.graph.states["final"][:-1]).all()
    assert np.isfinite(grown.graph.arcs["weight"]).all()
