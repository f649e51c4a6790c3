"""Lattices against exhaustive enumeration: of the graph's paths, and of a lattice's own."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from recognizer.beam_search import BeamSearch, BeamSearchSettings, SearchScratch
from recognizer.keyword_search import Phrase, phrase_posterior
from recognizer.lattice import Lattice, sorted_lattice
from recognizer.lattice_paths import n_best, oracle_errors
from recognizer.lattice_posteriors import posteriors, word_posteriors
from tests.builders.small_graphs import (
    EIGHTH,
    GraphAndScores,
    all_paths,
    cheapest_per_sentence,
    graphs_and_scores,
)

EVERYTHING = BeamSearchSettings(
    beam=4096.0, max_active=1 << 30, lattice_beam=4096.0, lattice_entries=1 << 30, forget_every_frames=2
)
SCRATCH = SearchScratch()


def searched(example: GraphAndScores, search_settings: BeamSearchSettings = EVERYTHING) -> BeamSearch:
    search = BeamSearch(example.graph, search_settings, SCRATCH)
    search.advance(example.scores)
    return search


def sentences_of(lattice: Lattice) -> Iterator[tuple[tuple[int, ...], tuple[int, ...], float]]:
    """Every path of a lattice by plain recursion: words, arcs, cost."""

    def walk(
        node: int, words: tuple[int, ...], path: tuple[int, ...], cost: float
    ) -> Iterator[tuple[tuple[int, ...], tuple[int, ...], float]]:
        end = lattice.final_costs()[node]
        if math.isfinite(end):
            yield words, path, cost + float(end)
        for a, arc in enumerate(lattice.arcs):
            if arc["source"] == node:
                paid = cost + float(arc["graph"]) + float(arc["acoustic"])
                yield from walk(int(arc["target"]), (*words, int(arc["word"])), (*path, a), paid)

    yield from walk(0, (), (), 0.0)


@st.composite
def lattices(draw: st.DrawFn) -> Lattice:
    """Up to six nodes, three words, weights in eighths; deterministic, as the search's are."""
    nodes = draw(st.integers(1, 6))
    arcs = {}
    for source in range(nodes - 1):
        for word in draw(st.sets(st.integers(1, 3), max_size=3)):
            arcs[source, word] = draw(st.integers(source + 1, nodes - 1))
    count = len(arcs)
    eighths = st.integers(-24, 24).map(lambda n: n * EIGHTH)
    costs = draw(st.lists(st.tuples(eighths, eighths), min_size=count, max_size=count))
    ends = draw(st.lists(st.one_of(eighths, st.just(math.inf)), min_size=nodes - 1, max_size=nodes - 1))
    ends.append(draw(eighths))
    moments = np.cumsum(draw(st.lists(st.integers(0, 9), min_size=nodes, max_size=nodes)))
    lattice = sorted_lattice(
        np.array([source for source, _ in arcs], np.int64),
        np.array(list(arcs.values()), np.int64),
        np.array([word for _, word in arcs], np.int64),
        np.array([graph for graph, _ in costs], np.float64),
        np.array([acoustic for _, acoustic in costs], np.float64),
        moments.astype(np.int32),
        np.array(ends),
        np.zeros(nodes),
        int(moments[-1]),
        99.0,
    )
    assume(bool(np.isfinite(lattice.final_costs()).any()))
    return lattice


@settings(max_examples=100, deadline=None)
@given(graphs_and_scores())
def test_a_lattice_without_limits_has_every_sentence_once_at_its_least_cost(example: GraphAndScores) -> None:
    wanted = cheapest_per_sentence(example.graph, example.scores)
    lattice = searched(example).lattice(reached_final=True)
    if not wanted:
        assert lattice is None
        return
    assert lattice is not None
    found = [(words, cost) for words, _, cost in sentences_of(lattice)]
    assert len(found) == len(wanted)
    assert dict(found) == wanted


@settings(max_examples=100, deadline=None)
@given(graphs_and_scores(), st.integers(1, 32), st.integers(1, 2))
def test_a_pruned_lattice_has_the_best_sentence_and_only_true_costs(
    example: GraphAndScores, eighths: int, entries: int
) -> None:
    beam = eighths * EIGHTH
    narrow = BeamSearchSettings(
        beam=4096.0, max_active=1 << 30, lattice_beam=beam, lattice_entries=entries, forget_every_frames=1
    )
    search = searched(example, narrow)
    for reached_final, best in ((True, search.finish()), (False, search.partial())):
        lattice = search.lattice(reached_final)
        if not math.isfinite(best.cost) or best.reached_final != reached_final:
            continue
        assert lattice is not None
        assert lattice.best_path()[1] == best.cost
        paths = {
            (words, cost + (float(example.graph.states[state]["final"]) if reached_final else 0.0))
            for words, cost, state in all_paths(example.graph, example.scores)
        }
        found = list(sentences_of(lattice))
        assert len({words for words, _, _ in found}) == len(found)
        assert all((words, cost) in paths for words, _, cost in found)
        for arc in range(len(lattice.arcs)):
            assert min(cost for _, path, cost in found if arc in path) <= best.cost + beam


@settings(max_examples=100, deadline=None)
@given(graphs_and_scores(), st.integers(1, 64))
def test_a_pruned_lattice_misses_nothing_within_its_beam(example: GraphAndScores, eighths: int) -> None:
    beam = eighths * EIGHTH
    limits = BeamSearchSettings(4096.0, 1 << 30, lattice_beam=beam, lattice_entries=99, forget_every_frames=1)
    wanted = cheapest_per_sentence(example.graph, example.scores)
    lattice = searched(example, limits).lattice(reached_final=True)
    if wanted:
        assert lattice is not None
        best = min(wanted.values())
        found = {words: cost for words, _, cost in sentences_of(lattice)}
        assert {words for words, cost in wanted.items() if cost <= best + beam} <= set(found)
        assert all(wanted[words] == cost for words, cost in found.items())


@settings(max_examples=100, deadline=None)
@given(lattices(), st.integers(1, 40))
def test_the_n_best_are_the_cheapest_in_order(lattice: Lattice, most: int) -> None:
    every = sorted(cost for _, _, cost in sentences_of(lattice))
    truth = {words: cost for words, _, cost in sentences_of(lattice)}
    found = n_best(lattice, most)
    assert [path.cost for path in found] == every[:most]
    assert len({path.words for path in found}) == len(found)
    for path in found:
        assert truth[path.words] == path.cost
        assert lattice.words_of(np.array(path.arcs, np.int64)) == path.words
        followed = lattice.path_of(path.words)
        assert followed is not None
        assert tuple(followed) == path.arcs
    assert lattice.path_of((9,)) is None


@settings(max_examples=100, deadline=None)
@given(lattices(), st.sampled_from([0.25, 1.0]))
def test_posteriors_are_shares_of_all_paths(lattice: Lattice, scale: float) -> None:
    every = list(sentences_of(lattice))
    weights = [math.exp(-scale * cost) for _, _, cost in every]
    found = posteriors(lattice, scale)
    assert found.log_total == pytest.approx(math.log(sum(weights)), abs=1e-9)
    for a in range(len(lattice.arcs)):
        share = sum(w for w, (_, path, _) in zip(weights, every, strict=True) if a in path) / sum(weights)
        assert found.arcs[a] == pytest.approx(share, abs=1e-9)
    path, _ = lattice.best_path()
    moments = lattice.frames[lattice.arcs["target"]]
    for arc, posterior in zip(path, word_posteriors(lattice, path, scale, 4), strict=True):
        same = {
            b
            for b in range(len(lattice.arcs))
            if lattice.arcs["word"][b] == lattice.arcs["word"][arc]
            and abs(int(moments[b]) - int(moments[arc])) <= 4
        }
        share = sum(w for w, (_, p, _) in zip(weights, every, strict=True) if same & set(p)) / sum(weights)
        assert posterior == pytest.approx(share, abs=1e-9)


def said_in(words: tuple[int, ...], moments: list[int], phrase: Phrase, first: int, end: int) -> bool:
    """Whether `phrase` stands in a sentence, by trying every place."""

    def rest(place: int, at: int, between: int) -> bool:
        if place == len(phrase.words):
            return True
        if at == len(words) or not first <= moments[at] < end:
            return False
        if words[at] in phrase.words[place] and rest(place + 1, at + 1, 0):
            return True
        filler = phrase.fillers is None or words[at] in phrase.fillers
        return place > 0 and filler and between < phrase.most_between and rest(place, at + 1, between + 1)

    return any(rest(0, at, 0) for at in range(len(words)))


@settings(max_examples=100, deadline=None)
@given(
    lattices(),
    st.lists(st.sets(st.integers(1, 3), min_size=1, max_size=2).map(tuple), min_size=1, max_size=3),
    st.integers(0, 2),
    st.one_of(st.none(), st.frozensets(st.integers(1, 3))),
    st.integers(0, 20),
    st.integers(0, 40),
)
def test_a_phrases_posterior_is_the_share_of_the_paths_that_say_it(
    lattice: Lattice,
    words: list[tuple[int, ...]],
    between: int,
    fillers: frozenset[int] | None,
    first: int,
    length: int,
) -> None:
    phrase = Phrase(tuple(words), between, fillers)
    moments = lattice.frames[lattice.arcs["target"]]
    said = total = 0.0
    for sentence, path, cost in sentences_of(lattice):
        weight = math.exp(-0.5 * cost)
        total += weight
        if said_in(sentence, [int(moments[a]) for a in path], phrase, first, first + length):
            said += weight
    assert phrase_posterior(lattice, phrase, first, first + length, scale=0.5) == pytest.approx(said / total)


def test_phrases_of_spellings_and_wrong_ones() -> None:
    number = {"guaranteed": 4, "return": 7, "uh": 9}
    assert Phrase.of(["guaranteed", "profit"], number) is None
    assert Phrase.of(["guaranteed", "return"], number, 1, ["uh", "um"]) == Phrase(((4,), (7,)), 1, frozenset({9}))
    for wrong in ({"words": ()}, {"words": ((),)}, {"words": ((1,),), "most_between": 62}):
        with pytest.raises(ValueError):
            Phrase(**wrong)  # type: ignore[arg-type]


@settings(max_examples=100, deadline=None)
@given(lattices(), st.lists(st.integers(-1, 3).filter(bool), max_size=5))
def test_the_oracle_is_the_path_with_the_fewest_errors(lattice: Lattice, said: list[int]) -> None:
    fewest = min(_errors(said, list(words)) for words, _, _ in sentences_of(lattice))
    assert oracle_errors(lattice, np.array(said, np.int64)) == fewest


def _errors(said: list[int], found: list[int]) -> int:
    row = list(range(len(found) + 1))
    for i, word in enumerate(said, 1):
        previous, row[0] = row[0], i
        for j, other in enumerate(found, 1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (word != other))
    return row[-1]


def test_a_lattice_checks_its_arrays() -> None:
    lattice = sorted_lattice(
        np.array([0]), np.array([1]), np.array([3]), np.array([1.0]), np.array([2.0]), np.array([0, 5], np.int32),
        np.array([np.inf, 0.5]), np.array([0.0, 0.0]), 9, 4.0,
    )  # fmt: skip
    assert lattice.best_path()[1] == 3.5
    backwards = lattice.arcs.copy()
    backwards["target"] = 0
    with pytest.raises(ValueError, match="sorted by source"):
        Lattice(backwards, lattice.frames, lattice.final_graph, lattice.final_acoustic, 9, 4.0)
    with pytest.raises(ValueError, match="layout"):
        Lattice(lattice.arcs, lattice.frames[:1], lattice.final_graph, lattice.final_acoustic, 9, 4.0)


def test_paths_that_lead_nowhere_are_left_out() -> None:
    none = np.full(3, np.inf)
    empty = sorted_lattice(
        np.array([0, 0]), np.array([1, 2]), np.array([1, 2]), np.ones(2), np.ones(2), np.zeros(3, np.int32),
        none, np.zeros(3), 9, 4.0,
    )  # fmt: skip
    assert empty.nodes == 1
    assert n_best(empty, 3) == []
    assert empty.best_path()[1] == math.inf
    assert posteriors(empty).log_total == -math.inf
    assert oracle_errors(empty, np.array([1, 2])) == 2
    assert phrase_posterior(empty, Phrase(((1,),))) == 0.0
