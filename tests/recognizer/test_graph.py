"""The graph's files, packed and unpacked."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recognizer.flat_fst import FlatFst
from recognizer.graph import Graph, GraphError, graph_from_arcs
from recognizer.graph_archive import MAGIC, WEIGHT_STEP, pack_graph, unpack_graph

WORDS = ("", "one", "two", "three")


def small_graph() -> Graph:
    return graph_from_arcs(
        np.array([0, 0, 1, 0]), np.array([1, 2, 2, 0]), np.array([1, -1, 0, 0]), np.array([1, 0, 2, 0]),
        np.array([0.5, 1.0, 0.25, 2.0], np.float32), np.array([np.inf, np.inf, 0.75], np.float32), 0, 2, (0,), WORDS,
    )  # fmt: skip


def test_arcs_without_input_come_first_in_each_state() -> None:
    graph = small_graph()
    assert graph.arcs["pdf"].tolist() == [-1, 0, 1, 0]
    assert graph.states["first"].tolist() == [0, 3, 4, 4]
    assert graph.states["emitting"].tolist() == [1, 3, 4, 4]


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    graph = small_graph()
    graph.save(tmp_path)
    loaded = Graph.load(tmp_path)
    assert (loaded.arcs == graph.arcs).all()
    assert (loaded.states == graph.states).all()
    assert (loaded.start, loaded.pdfs, loaded.silence_pdfs, loaded.words) == (0, 2, (0,), WORDS)


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-16])


@pytest.mark.parametrize("name", ["states.npy", "arcs.npy", "words.txt", "graph.json"])
def test_a_missing_file_is_told(tmp_path: Path, name: str) -> None:
    small_graph().save(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(GraphError, match=r"^The recognition graph could not be read: FileNotFoundError\.$"):
        Graph.load(tmp_path)


@pytest.mark.parametrize("name", ["states.npy", "arcs.npy", "graph.json"])
def test_a_file_that_was_cut_short_is_told(tmp_path: Path, name: str) -> None:
    small_graph().save(tmp_path)
    _truncate(tmp_path / name)
    with pytest.raises(GraphError):
        Graph.load(tmp_path)


def test_another_format_is_told(tmp_path: Path) -> None:
    small_graph().save(tmp_path)
    facts = json.loads((tmp_path / "graph.json").read_text())
    (tmp_path / "graph.json").write_text(json.dumps({**facts, "format": 99}))
    with pytest.raises(GraphError, match="format 99"):
        Graph.load(tmp_path)


@st.composite
def transducers(draw: st.DrawFn) -> FlatFst:
    """Any shape; weights are multiples of the archive's step, so that packing rounds nothing."""
    states = draw(st.integers(1, 6))
    weight = st.integers(-100, 2000).map(lambda n: n * WEIGHT_STEP)
    state = st.integers(0, states - 1)
    arcs = draw(st.lists(st.tuples(state, state, st.integers(0, 900), st.integers(0, 3), weight), max_size=15))
    columns = np.array(arcs, np.float64).reshape(len(arcs), 5).T
    finals = draw(st.lists(st.one_of(weight, st.just(np.inf)), min_size=states, max_size=states))
    source, target, label, output = columns[:4].astype(np.int64)
    return FlatFst(
        source, target, label, output, columns[4].astype(np.float32), np.array(finals, np.float32), draw(state)
    )


def _reached(fst: FlatFst) -> set[int]:
    found, waiting = {fst.start}, [fst.start]
    while waiting:
        for target in fst.target[fst.source == waiting.pop()].tolist():
            if target not in found:
                found.add(target)
                waiting.append(target)
    return found


def _language(fst: FlatFst, length: int = 3) -> set[tuple[tuple[tuple[int, int], ...], float]]:
    """All (labels along a path, cost with final cost) of paths of up to `length` arcs."""
    found = set()
    waiting: list[tuple[int, tuple[tuple[int, int], ...], float]] = [(fst.start, (), 0.0)]
    while waiting:
        state, said, cost = waiting.pop()
        found.add((said, cost + float(fst.final[state])))
        if len(said) < length:
            for a in np.flatnonzero(fst.source == state):
                label = (int(fst.input[a]), int(fst.output[a]))
                waiting.append((int(fst.target[a]), (*said, label), cost + float(fst.weight[a])))
    return found


@settings(max_examples=100, deadline=None)
@given(transducers())
def test_a_packed_graph_unpacks_to_the_same_language(fst: FlatFst) -> None:
    unpacked, words = unpack_graph(pack_graph(fst, WORDS))
    assert words == WORDS
    assert unpacked.start == 0
    assert len(unpacked.final) == len(_reached(fst))
    assert _language(unpacked) == _language(fst)


def test_packing_rounds_weights_to_the_step() -> None:
    fst = FlatFst(
        *(np.zeros(1, np.int64) for _ in range(4)), np.array([0.51], np.float32), np.zeros(1, np.float32), 0
    )
    unpacked, _ = unpack_graph(pack_graph(fst, WORDS))
    assert unpacked.weight.tolist() == [33 / 64]


def test_damaged_archives_are_refused_in_one_sentence() -> None:
    fst = FlatFst(
        np.array([0, 1]), np.array([1, 1]), np.array([3, 4]), np.array([1, 0]),
        np.array([0.5, 1], np.float32), np.array([np.inf, 0], np.float32), 0,
    )  # fmt: skip
    data = pack_graph(fst, WORDS)
    with pytest.raises(GraphError, match="unknown format"):
        unpack_graph(b"RIFF" + data)
    for cut in range(len(MAGIC), len(data)):
        with pytest.raises(GraphError):
            unpack_graph(data[:cut])


def test_a_graph_of_format_1_is_read(tmp_path: Path) -> None:
    small_graph().save(tmp_path)
    facts = json.loads((tmp_path / "graph.json").read_text())
    assert facts["format"] == 2
    (tmp_path / "graph.json").write_text(json.dumps({**facts, "format": 1}))
    assert (Graph.load(tmp_path).arcs == small_graph().arcs).all()
