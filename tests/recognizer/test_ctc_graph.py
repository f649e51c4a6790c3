"""CTC graphs against first principles: every labelling of the frames, collapsed and looked up."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recognizer.beam_search import BeamSearch, BeamSearchSettings
from recognizer.ctc_graph import STEPS, add_ctc_topology, build_spelled_grammar
from recognizer.flat_fst import FlatFst
from recognizer.graph import Graph
from recognizer.graph_archive import pack_graph, unpack_graph
from recognizer.language_model import LanguageModel, read_arpa
from tests.builders.small_graphs import ARPA, EIGHTH, all_paths, cheapest_per_sentence

BLANK, COLUMNS = 1, 4
WORDS = ("", "one", "two", "three")
ROUNDING = 4 / 1024


def collapsed(labels: tuple[int, ...], blank: int) -> tuple[int, ...]:
    return tuple(token for token, _ in itertools.groupby(labels) if token != blank)


@st.composite
def transducers(draw: st.DrawFn) -> FlatFst:
    """Up to four states; arcs without input lead upwards, so that there is no endless loop."""
    states = draw(st.integers(1, 4))
    weight = st.integers(0, 40).map(lambda n: n * EIGHTH)
    label = st.sampled_from([0, *(column + 1 for column in range(COLUMNS) if column != BLANK)])
    arc = st.tuples(
        st.integers(0, states - 1), st.integers(0, states - 1), label, st.integers(0, 3), weight
    ).filter(lambda a: a[2] > 0 or a[0] < a[1])  # fmt: skip
    arcs = draw(st.lists(arc, min_size=1, max_size=10))
    finals = draw(st.lists(st.one_of(weight, st.just(math.inf)), min_size=states, max_size=states))
    source, target, label_, word, weights = (np.array(column) for column in zip(*arcs, strict=True))
    return FlatFst(source, target, label_, word, weights.astype(np.float32), np.array(finals, np.float32), 0)


def spoken(fst: FlatFst, most: int) -> dict[tuple[int, ...], dict[tuple[int, ...], float]]:
    """Least cost by token string and word string, up to `most` tokens."""
    found: dict[tuple[int, ...], dict[tuple[int, ...], float]] = defaultdict(dict)
    waiting = [(fst.start, (), (), 0.0)]
    while waiting:
        state, tokens, words, cost = waiting.pop()
        if (whole := cost + float(fst.final[state])) < found[tokens].get(words, math.inf):
            found[tokens][words] = whole
        for a in np.flatnonzero(fst.source == state):
            heard = (*tokens, int(fst.input[a]) - 1) if fst.input[a] else tokens
            said = (*words, int(fst.output[a])) if fst.output[a] else words
            if len(heard) <= most:
                waiting.append((int(fst.target[a]), heard, said, cost + float(fst.weight[a])))
    return found


@settings(max_examples=60, deadline=None)
@given(fst=transducers(), frames=st.integers(0, 3), seed=st.integers(0, 99))
def test_a_sentence_costs_what_its_best_labelling_costs(fst: FlatFst, frames: int, seed: int) -> None:
    scores = (np.random.default_rng(seed).integers(-40, 1, (frames, COLUMNS)) * EIGHTH).astype(np.float32)
    expected: dict[tuple[int, ...], float] = defaultdict(lambda: math.inf)
    strings = spoken(fst, frames)
    for labels in itertools.product(range(COLUMNS), repeat=frames):
        acoustic = -sum(float(scores[t, label]) for t, label in enumerate(labels))
        for words, cost in strings.get(collapsed(labels, BLANK), {}).items():
            expected[words] = min(expected[words], acoustic + cost)
    graph = add_ctc_topology(fst, BLANK, COLUMNS, WORDS)
    assert cheapest_per_sentence(graph, scores) == {w: c for w, c in expected.items() if math.isfinite(c)}
    assert graph.pdfs == COLUMNS
    assert graph.silence_pdfs == (BLANK,)


TOKENS = ("<blk>", "▁a", "b", "▁b", "ee", "c", "▁c", "a", "e")
SPELLINGS = {"a": [(1,)], "ab": [(1, 2)], "be": [(3, 8)], "bee": [(3, 8, 8), (3, 4)], "cab": [(6, 7, 2)]}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    path = tmp_path_factory.mktemp("arpa") / "model.arpa"
    path.write_text(ARPA)
    return read_arpa(path, SPELLINGS)


@pytest.fixture(scope="module")
def fst(model: LanguageModel) -> FlatFst:
    pytest.importorskip("kaldifst", reason="needs kaldifst: pip install 'callwarden[onnx]'")
    return build_spelled_grammar(model, SPELLINGS, len(TOKENS))


@pytest.fixture(scope="module")
def graph(fst: FlatFst, model: LanguageModel) -> Graph:
    return add_ctc_topology(fst, 0, len(TOKENS), model.words)


def by_hand(model: LanguageModel, scores: np.ndarray) -> dict[tuple[int, ...], float]:
    """Least cost per word sequence, straight from spellings, language model and labellings."""
    acoustic: dict[tuple[int, ...], float] = defaultdict(lambda: math.inf)
    for labels in itertools.product(range(len(TOKENS)), repeat=len(scores)):
        cost = -float(scores[np.arange(len(scores)), labels].sum())
        tokens = collapsed(labels, 0)
        acoustic[tokens] = min(acoustic[tokens], cost)
    found = {}
    for count in range(1, len(scores) + 1):
        for words in itertools.product(sorted(SPELLINGS), repeat=count):
            ways = itertools.product(*(SPELLINGS[word] for word in words))
            cost = min(acoustic[tuple(itertools.chain(*way))] for way in ways)
            if math.isfinite(cost):
                ids = tuple(model.words.index(word) for word in words)
                said = (1, *ids, 2)
                grammar = (model.log_probability(said[max(0, i - 2) : i], said[i]) for i in range(1, len(said)))
                found[ids] = cost - sum(grammar)
    return found


@pytest.mark.parametrize("seed", range(3))
def test_costs_are_those_of_spelling_language_model_and_labelling(
    graph: Graph, model: LanguageModel, seed: int
) -> None:
    scores = np.random.default_rng(seed).normal(-3, 2, (4, len(TOKENS))).astype(np.float32)
    in_graph, expected = cheapest_per_sentence(graph, scores), by_hand(model, scores)
    assert set(in_graph) - {()} == set(expected)
    for words, cost in expected.items():
        # As with any graph: backing off where a longer n-gram exists may be cheaper, nothing is dearer.
        assert in_graph[words] <= cost + ROUNDING
    best = min(expected, key=expected.__getitem__)
    assert in_graph[best] == pytest.approx(expected[best], abs=math.log(2) + ROUNDING)


def test_equal_tokens_need_a_blank_between_them(graph: Graph, model: LanguageModel) -> None:
    def best(*tokens: int) -> str:
        scores = np.full((len(tokens), len(TOKENS)), -50.0, np.float32)
        scores[np.arange(len(tokens)), tokens] = 0.0
        search = BeamSearch(graph, BeamSearchSettings(beam=200.0))
        search.advance(scores)
        return search.finish().text

    assert best(3, 8, 8) == "be"
    assert best(3, 8, 0, 8) == "bee"
    assert best(0, 3, 4, 0, 0) == "bee"
    assert best(1, 1, 0, 1) == "a a"
    assert best(1, 2) == "ab"


def test_silence_is_counted_by_blanks(graph: Graph) -> None:
    scores = np.full((6, len(TOKENS)), -20.0, np.float32)
    scores[[0, 1, 2, 3, 4, 5], [0, 3, 4, 0, 0, 0]] = 0.0
    search = BeamSearch(graph)
    search.advance(scores)
    assert search.trailing_silence_frames() == 3


def test_the_archive_keeps_the_graph_up_to_its_rounding(fst: FlatFst, model: LanguageModel, graph: Graph) -> None:
    unpacked, words = unpack_graph(pack_graph(fst, model.words))
    again = add_ctc_topology(unpacked, 0, len(TOKENS), words)
    assert (again.state_count, len(again.arcs), again.words) == (graph.state_count, len(graph.arcs), graph.words)
    scores = np.random.default_rng(5).normal(-3, 2, (3, len(TOKENS))).astype(np.float32)
    before, after = cheapest_per_sentence(graph, scores), cheapest_per_sentence(again, scores)
    assert set(before) == set(after)
    assert all(abs(after[words] - cost) < 0.2 for words, cost in before.items())


def test_no_state_is_out_of_reach(graph: Graph) -> None:
    assert set(graph.arcs["next"].tolist()) | {graph.start} == set(range(graph.state_count))
    assert next(all_paths(graph, np.empty((0, len(TOKENS)), np.float32))) == ((), 0.0, graph.start)


def test_every_step_is_announced(model: LanguageModel) -> None:
    pytest.importorskip("kaldifst", reason="needs kaldifst: pip install 'callwarden[onnx]'")
    steps: list[str] = []
    build_spelled_grammar(model, SPELLINGS, len(TOKENS), steps.append)
    assert tuple(steps) == STEPS


def test_words_are_only_taken_that_can_be_spelled(tmp_path: Path) -> None:
    (tmp_path / "model.arpa").write_text(ARPA)
    assert "be" not in read_arpa(tmp_path / "model.arpa", {"a", "cab"}).words
