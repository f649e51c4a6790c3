"""Words grafted onto a graph against a graph that was built with them, and against the sources summed by hand."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from recognizer.beam_search import BeamSearch, BeamSearchSettings
from recognizer.graph import Graph, GraphError, graph_from_arcs
from recognizer.graph_build import build_graph
from recognizer.hmm_topology import add_self_loops
from recognizer.language_model import LanguageModel, read_arpa
from recognizer.vocabulary_entry_points import KnownPaths, back_off_states
from recognizer.vocabulary_graft import SpokenPhrase, graft
from recognizer.vocabulary_settings import GraftSettings
from tests.builders.small_graphs import ARPA, LEXICON, PHONES, cheapest_per_sentence, tiny_topology

pytest.importorskip("kaldifst")

ROUNDING = 6 / 1024
TOPOLOGY = tiny_topology()
LABEL = {phone: i + 1 for i, phone in enumerate(PHONES)}
NEW = {"back": [("B", "C", "A")], "ca": [("C", "A"), ("A", "A")]}
COST = 2.5


def phones(*pronunciations: tuple[str, ...]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(LABEL[phone] for phone in one) for one in pronunciations)


def phrase(*words: str, bonus: float = 0.0) -> SpokenPhrase:
    return SpokenPhrase(words, tuple(phones(*{**LEXICON, **NEW}[word]) for word in words), bonus)


def built(arpa: str, lexicon: dict[str, list[tuple[str, ...]]], folder: Path) -> tuple[Graph, LanguageModel]:
    path = folder / "model.arpa"
    path.write_text(arpa)
    model = read_arpa(path, lexicon)
    return add_self_loops(build_graph(model, lexicon, TOPOLOGY), TOPOLOGY, model.words), model


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> tuple[Graph, LanguageModel]:
    return built(ARPA, LEXICON, tmp_path_factory.mktemp("base"))


def sentences(graph: Graph, scores: np.ndarray) -> dict[tuple[str, ...], float]:
    found = cheapest_per_sentence(graph, scores)
    return {tuple(graph.words[i] for i in ids): cost for ids, cost in found.items()}


def test_there_is_a_back_off_state_for_every_phone_that_ends_a_word(base: tuple[Graph, LanguageModel]) -> None:
    entries = back_off_states(base[0], TOPOLOGY)
    assert entries.keys() == {0, LABEL["SIL"], LABEL["A"], LABEL["B"]}
    finals = base[0].states["final"][list(entries.values())]
    assert finals == pytest.approx(0.9 * math.log(10), abs=ROUNDING)


@pytest.mark.parametrize("seed", range(3))
def test_a_new_word_costs_what_it_costs_in_a_graph_built_with_it(
    base: tuple[Graph, LanguageModel], tmp_path: Path, seed: int
) -> None:
    lines = "".join(f"{-COST / math.log(10):.6f} {word}\n" for word in NEW)
    arpa = ARPA.replace("-0.9 </s>\n", "-0.9 </s>\n" + lines)
    whole, _ = built(arpa, {**LEXICON, **NEW}, tmp_path)
    grown = graft(base[0], TOPOLOGY, [phrase(word) for word in NEW], GraftSettings(COST))
    scores = np.random.default_rng(seed).normal(0, 2, (4, TOPOLOGY.pdfs)).astype(np.float32)
    expected, found = sentences(whole, scores), sentences(grown, scores)
    assert expected.keys() == found.keys()
    assert any("back" in words for words in found)
    for words, cost in expected.items():
        # Determinisation adds up the probabilities of a word's pronunciations that differ in nothing but pauses.
        assert found[words] == pytest.approx(cost, abs=ROUNDING)


@pytest.mark.parametrize("seed", range(3))
def test_without_bonus_a_known_phrase_changes_nothing_and_with_one_only_itself(
    base: tuple[Graph, LanguageModel], seed: int
) -> None:
    graph, _ = base
    scores = np.random.default_rng(seed).normal(0, 2, (4, TOPOLOGY.pdfs)).astype(np.float32)
    before = sentences(graph, scores)
    for words in (("cab",), ("cab", "a"), ("ab", "ab"), ("bee",)):
        same = sentences(graft(graph, TOPOLOGY, [phrase(*words)]), scores)
        dearer_nowhere = {said: before[said] - cost for said, cost in same.items()}
        assert all(abs(gain) < ROUNDING for gain in dearer_nowhere.values())
        better = sentences(graft(graph, TOPOLOGY, [phrase(*words, bonus=1.5)]), scores)
        assert better.keys() == before.keys()
        gained = set()
        for said, cost in better.items():
            uses = sum(said[i : i + len(words)] == words for i in range(len(said)))
            assert -ROUNDING <= before[said] - cost <= 1.5 * uses + ROUNDING
            if before[said] - cost > 0.1:
                gained.add(said)
        assert any(said[: len(words)] == words for said in gained)


def test_a_boosted_phrase_keeps_the_history_of_its_words(base: tuple[Graph, LanguageModel]) -> None:
    """What follows is as likely as after the same words without a boost: a trigram's probability, no unigram's."""
    graph, model = base
    paths = KnownPaths(graph, TOPOLOGY, back_off_states(graph, TOPOLOGY))
    ids = [model.words.index(word) for word in ("cab", "a")]
    found = paths.path(ids, phones(("C", "A", "B"), ("A",)))
    assert found is not None
    expected = -model.log_probability((), ids[0]) - model.log_probability((ids[0],), ids[1])
    assert found.cost == pytest.approx(expected, abs=ROUNDING)
    assert paths.path(ids, phones(("A", "A", "B"), ("A",))) is None


def test_new_and_known_words_mix_in_a_phrase(base: tuple[Graph, LanguageModel]) -> None:
    graph, model = base
    scores = np.random.default_rng(5).normal(0, 2, (5, TOPOLOGY.pdfs)).astype(np.float32)
    alone = sentences(graft(graph, TOPOLOGY, [phrase("ca")], GraftSettings(COST)), scores)
    both = sentences(
        graft(graph, TOPOLOGY, [phrase("ca"), phrase("ca", "bee", bonus=1.0)], GraftSettings(COST)), scores
    )
    assert alone.keys() == both.keys()
    assert alone["ca", "bee"] - both["ca", "bee"] == pytest.approx(1.0, abs=ROUNDING)
    assert alone["ca", "a"] == pytest.approx(both["ca", "a"], abs=ROUNDING)
    ending = sentences(graft(graph, TOPOLOGY, [phrase("a", "back")], GraftSettings(COST)), scores)
    bee = model.words.index("a")
    assert math.isfinite(ending["a", "back"])
    assert ("back",) not in ending
    assert -model.log_probability((), bee) > 0


def test_a_word_whose_last_phone_ended_no_word_before_is_heard_before_a_pause(
    base: tuple[Graph, LanguageModel],
) -> None:
    grown = graft(base[0], TOPOLOGY, [SpokenPhrase(("bac",), (phones(("B", "C")),), 0.0)], GraftSettings(COST))
    scores = np.random.default_rng(1).normal(0, 2, (4, TOPOLOGY.pdfs)).astype(np.float32)
    expected = sentences(graft(base[0], TOPOLOGY, [phrase("ca")], GraftSettings(COST)), scores).keys()
    assert {
        tuple("ca" if word == "bac" else word for word in words) for words in sentences(grown, scores)
    } == expected


def test_states_and_words_keep_their_numbers(base: tuple[Graph, LanguageModel]) -> None:
    graph, _ = base
    grown = graft(graph, TOPOLOGY, [phrase("back"), phrase("ab", "ab", bonus=2.0)])
    assert grown.words[: len(graph.words)] == graph.words
    assert grown.words[len(graph.words) :] == ("back",)
    assert (grown.states["final"][: graph.state_count] == graph.states["final"][:-1]).all()
    for state in range(graph.state_count):
        old = graph.arcs[graph.states["first"][state] : graph.states["first"][state + 1]]
        new = grown.arcs[grown.states["first"][state] : grown.states["first"][state + 1]]
        assert (new[: len(old)] == old).all()
        epsilons = grown.states["emitting"][state] - grown.states["first"][state]
        assert (new["pdf"][:epsilons] == -1).all()
        assert (new["pdf"][epsilons:] >= 0).all()


def test_the_search_finds_a_grafted_word(base: tuple[Graph, LanguageModel]) -> None:
    grown = graft(base[0], TOPOLOGY, [phrase("back")], GraftSettings(COST))
    scores = np.full((9, TOPOLOGY.pdfs), -8.0, np.float32)
    left = 0
    for place, label in enumerate(phones(NEW["back"][0])[0]):
        leaf = int(TOPOLOGY.leaf[left, label])
        scores[3 * place, 2 * leaf] = scores[3 * place + 1 : 3 * place + 3, 2 * leaf + 1] = 0.0
        left = label
    search = BeamSearch(grown, BeamSearchSettings())
    search.advance(scores)
    assert search.finish().text == "back"
    assert search.finish().reached_final


def test_a_graph_without_back_off_states_is_refused() -> None:
    one, none = np.ones(1, np.int64), np.zeros(1, np.int64)
    final = np.array([np.inf, 0], np.float32)
    graph = graph_from_arcs(none, one, none, one, np.ones(1, np.float32), final, 0, TOPOLOGY.pdfs, (0,), ("", "a"))
    with pytest.raises(GraphError, match="no place for further words"):
        back_off_states(graph, TOPOLOGY)


def test_a_bonus_makes_nothing_cheaper_than_the_least_cost(base: tuple[Graph, LanguageModel]) -> None:
    scores = np.zeros((3, TOPOLOGY.pdfs), np.float32)
    grown = [
        graft(base[0], TOPOLOGY, [phrase("back", bonus=bonus)], GraftSettings(COST, 1.0)) for bonus in (1.5, 1e9)
    ]
    first, second = (sentences(graph, scores) for graph in grown)
    assert first == second
    assert (grown[0].arcs["weight"] >= 0).all()
