"""Small recognition graphs: random ones for search laws, and a tiny language with dictionary and acoustic topology."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from recognizer.graph import Graph, graph_from_arcs
from recognizer.hmm_topology import HmmTopology

EIGHTH = 0.125
"""Weights are multiples of it, so that float32 sums are exact and equality means equality."""

PHONES = ("SIL", "A", "B", "C")
LEXICON = {
    "ab": [("A", "B")],
    "a": [("A",)],
    "bee": [("B",)],
    "be": [("B",)],
    "cab": [("C", "A", "B"), ("C", "B")],
}
ARPA = """\\data\\
ngram 1=7
ngram 2=5
ngram 3=2

\\1-grams:
-99 <s> -0.3
-0.9 </s>
-0.7 a -0.2
-0.8 ab -0.1
-1.1 bee -0.15
-1.0 be
-0.6 cab -0.25

\\2-grams:
-0.4 <s> cab -0.2
-0.5 cab a -0.1
-0.6 a bee
-0.3 a </s>
-0.7 ab ab -0.3

\\3-grams:
-0.2 <s> cab a
-0.3 cab a bee

\\end\\
"""


def tiny_topology() -> HmmTopology:
    """Leaves of four phones: A's depends on whether it begins the utterance or follows silence, C, or others."""
    leaf = np.array([[0, 0, 1, 3, 4]] * 5, np.int16)
    leaf[4, 2] = 2
    return HmmTopology(PHONES, leaf, np.array([0.75, 0.5, 0.25, 0.6, 0.4], np.float32))


@dataclass(frozen=True)
class GraphAndScores:
    """A random graph with scores that fit it."""

    graph: Graph
    scores: NDArray[np.float32]


@st.composite
def graphs_and_scores(draw: st.DrawFn, most_frames: int = 4) -> GraphAndScores:
    """Up to five states; arcs without input lead upwards, so that there is no endless loop without a frame."""
    states = draw(st.integers(1, 5))
    pdfs = draw(st.integers(1, 3))
    weight = st.integers(0, 40).map(lambda n: n * EIGHTH)
    arc = st.tuples(
        st.integers(0, states - 1),
        st.integers(0, states - 1),
        st.integers(-1, pdfs - 1),
        st.integers(0, 3),
        weight,
    ).filter(lambda a: a[2] >= 0 or a[0] < a[1])
    arcs = draw(st.lists(arc, min_size=1, max_size=12))
    finals = draw(st.lists(st.one_of(weight, st.just(math.inf)), min_size=states, max_size=states))
    frames = draw(st.integers(0, most_frames))
    score = st.integers(-40, 40).map(lambda n: n * EIGHTH)
    scores = draw(
        st.lists(st.lists(score, min_size=pdfs, max_size=pdfs), min_size=frames, max_size=frames).map(
            lambda rows: np.array(rows, np.float32).reshape(frames, pdfs)
        )
    )
    source, target, pdf, word, weights = (np.array(column) for column in zip(*arcs, strict=True))
    graph = graph_from_arcs(
        source, target, pdf, word, weights.astype(np.float32), np.array(finals, np.float32), 0, pdfs, (0,),
        ("", "one", "two", "three"),
    )  # fmt: skip
    return GraphAndScores(graph, scores)


def all_paths(graph: Graph, scores: NDArray[np.float32]) -> Iterator[tuple[tuple[int, ...], float, int]]:
    """Every path through `graph` that consumes exactly the frames of `scores`: its words, cost and last state."""

    def walk(
        state: int, frame: int, words: tuple[int, ...], cost: float
    ) -> Iterator[tuple[tuple[int, ...], float, int]]:
        if frame == len(scores):
            yield words, cost, state
        for a in range(graph.states[state]["first"], graph.states[state + 1]["first"]):
            arc = graph.arcs[a]
            said = words + ((int(arc["word"]),) if arc["word"] else ())
            paid = cost + float(arc["weight"])
            if arc["pdf"] < 0:
                yield from walk(int(arc["next"]), frame, said, paid)
            elif frame < len(scores):
                yield from walk(int(arc["next"]), frame + 1, said, paid - float(scores[frame, arc["pdf"]]))

    return walk(graph.start, 0, (), 0.0)


def cheapest_per_sentence(graph: Graph, scores: NDArray[np.float32]) -> dict[tuple[int, ...], float]:
    """The least cost, final cost included, per word sequence that `graph` can say in these frames (exhaustive)."""
    best: dict[tuple[int, ...], float] = defaultdict(lambda: math.inf)
    for words, cost, state in all_paths(graph, scores):
        best[words] = min(best[words], cost + float(graph.states[state]["final"]))
    return {words: cost for words, cost in best.items() if math.isfinite(cost)}
