"""The loop of phones for unknown words against every phone string put into the graph as a word of its own."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from recognizer.graph import Graph
from recognizer.graph_build import build_graph
from recognizer.hmm_topology import add_self_loops
from recognizer.language_model import read_arpa
from recognizer.vocabulary_graft import SpokenPhrase, graft
from recognizer.vocabulary_settings import GraftSettings
from recognizer.vocabulary_unknown import UNKNOWN, phone_bigrams
from recognizer.word_alignment import PronunciationTable, WordAligner
from tests.builders.small_graphs import ARPA, LEXICON, PHONES, cheapest_per_sentence, tiny_topology

pytest.importorskip("kaldifst")

FRAMES = 3
COST = 1.5
TOPOLOGY = tiny_topology()
BIGRAMS = phone_bigrams(LEXICON, PHONES)
STRINGS = [one for n in range(1, FRAMES + 1) for one in itertools.product((2, 3, 4), repeat=n)]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    path = tmp_path_factory.mktemp("arpa") / "model.arpa"
    path.write_text(ARPA)
    model = read_arpa(path, LEXICON)
    return add_self_loops(build_graph(model, LEXICON, TOPOLOGY), TOPOLOGY, model.words)


def test_what_follows_a_phone_is_certain_to_be_something() -> None:
    rows = np.exp(-BIGRAMS).sum(axis=1)
    assert np.delete(rows, 1) == pytest.approx(1.0)
    assert np.isinf(BIGRAMS[:, 1]).all()
    assert np.isinf(BIGRAMS[0, 0])


@pytest.mark.parametrize("seed", range(3))
def test_the_loop_costs_what_its_cheapest_phone_string_costs(base: Graph, seed: int) -> None:
    scores = np.random.default_rng(seed).normal(0, 2, (FRAMES, TOPOLOGY.pdfs)).astype(np.float32)
    grown = graft(base, TOPOLOGY, [], GraftSettings(unknown_cost=COST), BIGRAMS)
    looped = cheapest_per_sentence(grown, scores)
    phrases = []
    for string in STRINGS:
        cost = COST + sum(BIGRAMS[a, b] for a, b in itertools.pairwise((0, *string, 0)))
        phrases.append(SpokenPhrase(("".join(map(str, string)),), ((string,),), 60.0 - cost))
    listed = cheapest_per_sentence(graft(base, TOPOLOGY, phrases, GraftSettings(new_word_cost=60.0)), scores)
    known = len(base.words)
    assert grown.words[known] == UNKNOWN
    expected: dict[tuple[int, ...], float] = {}
    for said, cost in listed.items():
        name = tuple(min(word, known) for word in said)
        expected[name] = min(cost, expected.get(name, np.inf))
    assert looped.keys() == expected.keys()
    for said, cost in looped.items():
        assert cost == pytest.approx(expected[said], abs=1e-3)


def test_without_a_cost_there_is_no_loop(base: Graph) -> None:
    assert graft(base, TOPOLOGY, [], GraftSettings(), BIGRAMS).words == base.words


@pytest.mark.parametrize("seed", range(3))
def test_an_unknown_word_is_aligned_as_its_best_phone_string(base: Graph, seed: int) -> None:
    scores = np.random.default_rng(seed).normal(0, 2, (5, TOPOLOGY.pdfs)).astype(np.float32)
    words = (*base.words, UNKNOWN)
    aligner = WordAligner(TOPOLOGY, PronunciationTable.build(words, LEXICON, PHONES))
    said = [base.words.index("cab"), len(base.words), base.words.index("a")]
    found = aligner.align(said, scores)
    assert found is not None
    listed = {**LEXICON, UNKNOWN: [tuple(PHONES[p - 1] for p in one) for one in STRINGS]}
    expected = WordAligner(TOPOLOGY, PronunciationTable.build(words, listed, PHONES)).align(said, scores)
    assert expected is not None
    assert [(w.start_frame, w.end_frame) for w in found] == [(w.start_frame, w.end_frame) for w in expected]
    assert sum(w.score for w in found) == pytest.approx(sum(w.score for w in expected), abs=1e-4)
