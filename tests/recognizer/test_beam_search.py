"""The search against exhaustive search on small random graphs, and its promises about splits and memory."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recognizer.beam_search import BeamSearch, BeamSearchSettings, SearchScratch
from recognizer.graph import Graph, graph_from_arcs
from tests.builders.small_graphs import GraphAndScores, all_paths, cheapest_per_sentence, graphs_and_scores

EVERYTHING = BeamSearchSettings(beam=4096.0, max_active=1 << 30, lattice_beam=4096.0, lattice_entries=1 << 30)
SCRATCH = SearchScratch()


def chain(weights: list[float], final: float = 0.0) -> Graph:
    """One path: from state i to i + 1 over pdf 1 (speech) with word i + 1; in each state a loop on silence (pdf 0)."""
    count = len(weights)
    states = np.arange(count)
    finals = np.full(count + 1, np.inf, np.float32)
    finals[-1] = final
    everywhere = np.arange(count + 1)
    return graph_from_arcs(
        np.concatenate([states, everywhere]),
        np.concatenate([states + 1, everywhere]),
        np.concatenate([np.ones(count, np.int64), np.zeros(count + 1, np.int64)]),
        np.concatenate([states + 1, np.zeros(count + 1, np.int64)]),
        np.concatenate([np.array(weights), np.zeros(count + 1)]).astype(np.float32),
        finals, 0, 2, (0,), ["", *(f"w{i}" for i in range(count))],
    )  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(graphs_and_scores())
def test_finds_the_cheapest_path_that_exhaustive_search_finds(example: GraphAndScores) -> None:
    search = BeamSearch(example.graph, EVERYTHING, SCRATCH)
    search.advance(example.scores)
    found = search.finish()
    sentences = cheapest_per_sentence(example.graph, example.scores)
    anywhere = [(cost, words) for words, cost, _ in all_paths(example.graph, example.scores)]
    if sentences:
        assert found.reached_final
        assert found.cost == min(sentences.values())
        assert sentences[found.word_ids] == found.cost
    elif anywhere:
        assert not found.reached_final
        assert (found.cost, found.word_ids) in anywhere
        assert found.cost == min(cost for cost, _ in anywhere)
    else:
        assert found.cost == math.inf
        assert found.words == ()
    if anywhere:
        assert search.partial().cost == min(cost for cost, _ in anywhere)


@settings(max_examples=200, deadline=None)
@given(graphs_and_scores(), st.integers(1, 20), st.integers(1, 3))
def test_with_a_narrow_beam_the_result_is_still_a_path_at_its_true_cost(
    example: GraphAndScores, beam: int, max_active: int
) -> None:
    narrow = BeamSearchSettings(float(beam), max_active, min(0.5, beam), lattice_beam=float(beam))
    search = BeamSearch(example.graph, narrow, SCRATCH)
    search.advance(example.scores)
    found = search.partial()
    if math.isfinite(found.cost):
        assert (found.word_ids, found.cost) in [(w, c) for w, c, _ in all_paths(example.graph, example.scores)]


@settings(max_examples=200, deadline=None)
@given(graphs_and_scores(most_frames=12), st.data())
def test_any_split_of_the_frames_gives_the_same(example: GraphAndScores, data: st.DataObject) -> None:
    frames = len(example.scores)
    cuts = sorted(data.draw(st.lists(st.integers(0, frames), max_size=5)))
    careful = BeamSearchSettings(beam=6.0, max_active=4, lattice_beam=3.0, forget_every_frames=3)
    whole, pieces = (BeamSearch(example.graph, careful, SearchScratch()) for _ in range(2))
    whole.advance(example.scores)
    for begin, end in zip([0, *cuts], [*cuts, frames], strict=True):
        pieces.advance(example.scores[begin:end])
    assert pieces.frames == whole.frames == frames
    assert pieces.finish() == whole.finish()
    assert pieces.partial() == whole.partial()
    assert pieces.trailing_silence_frames() == whole.trailing_silence_frames()
    assert pieces.final_relative_cost() == whole.final_relative_cost()
    for reached_final in (False, True):
        assert pieces.lattice(reached_final) == whole.lattice(reached_final)


def test_legs_that_share_working_arrays_do_not_disturb_each_other() -> None:
    graph, shared = chain([1.0] * 6), SearchScratch()
    scores = np.array([[0, 2], [0, 2], [2, 0], [0, 2]], np.float32)
    alone = BeamSearch(graph, EVERYTHING)
    alone.advance(scores)
    first, second = BeamSearch(graph, EVERYTHING, shared), BeamSearch(graph, EVERYTHING, shared)
    for frame in range(len(scores)):
        first.advance(scores[frame : frame + 1])
        second.advance(-scores[frame : frame + 1])
    assert first.finish() == alone.finish()


def test_counts_the_silence_behind_the_last_sound_of_the_best_path() -> None:
    search = BeamSearch(chain([0.0, 0.0]), EVERYTHING, SCRATCH)
    search.advance(np.array([[4, 0]] * 3, np.float32))
    assert search.trailing_silence_frames() == search.frames == 3
    search.advance(np.array([[0, 4], [0, 4]], np.float32))
    assert search.trailing_silence_frames() == 0
    search.advance(np.array([[4, 0]] * 5, np.float32))
    assert search.trailing_silence_frames() == 5


def test_says_how_much_an_end_here_would_cost() -> None:
    search = BeamSearch(chain([0.0, 0.0], final=1.5), EVERYTHING, SCRATCH)
    assert search.final_relative_cost() == math.inf
    search.advance(np.array([[0, 4], [0, 4]], np.float32))
    assert search.final_relative_cost() == 1.5
    assert search.finish().cost == -8 + 1.5
    assert search.finish().reached_final


def test_without_a_final_state_the_best_path_is_told_as_such() -> None:
    search = BeamSearch(chain([0.0, 0.0, 0.0]), EVERYTHING, SCRATCH)
    search.advance(np.array([[0, 4]], np.float32))
    found = search.finish()
    assert not found.reached_final
    assert found.text == "w0"


def test_frames_of_words_follow_the_graph_and_the_end_of_the_utterance() -> None:
    search = BeamSearch(chain([0.0, 0.0]), EVERYTHING, SCRATCH)
    search.advance(np.array([[0, 4], [4, 0], [0, 4], [4, 0]], np.float32))
    assert [(w.text, w.start_frame, w.end_frame) for w in search.finish().words] == [("w0", 0, 2), ("w1", 2, 4)]


def test_reset_forgets_the_utterance_before() -> None:
    search = BeamSearch(chain([0.0, 0.0]), EVERYTHING, SCRATCH)
    scores = np.array([[0, 4], [4, 0]], np.float32)
    search.advance(scores)
    before = search.finish()
    search.reset()
    assert search.frames == 0
    search.advance(scores)
    assert search.finish() == before


def test_a_search_can_go_on_where_another_one_stood() -> None:
    graph = chain([1.0, 2.0, 3.0])
    scores = np.array([[0, 4], [4, 0], [0, 4], [0, 4]], np.float32)
    whole = BeamSearch(graph, EVERYTHING, SCRATCH)
    whole.advance(scores)
    before = BeamSearch(graph, EVERYTHING, SCRATCH)
    before.advance(scores[:2])
    after = BeamSearch(graph, EVERYTHING, SCRATCH, start=before.best_state())
    after.advance(scores[2:])
    assert before.partial().word_ids + after.finish().word_ids == whole.finish().word_ids
    assert before.partial().cost + after.finish().cost == whole.finish().cost
    assert after.best_state() == 3
    with pytest.raises(ValueError, match="no state 9 to begin in"):
        BeamSearch(graph, EVERYTHING, SCRATCH, start=9)


def test_a_search_that_lost_all_paths_says_so_and_stays_quiet() -> None:
    dead_end = graph_from_arcs(
        np.array([0]), np.array([1]), np.array([0]), np.array([1]), np.zeros(1, np.float32),
        np.array([np.inf, 0], np.float32), 0, 1, (), ["", "word"],
    )  # fmt: skip
    search = BeamSearch(dead_end, EVERYTHING, SCRATCH)
    search.advance(np.zeros((3, 1), np.float32))
    assert search.finish().cost == math.inf
    assert search.partial().words == ()
    assert search.best_state() is None
    assert search.trailing_silence_frames() == 0
    assert search.final_relative_cost() == math.inf


def test_what_no_path_needs_is_forgotten_without_changing_what_is_found() -> None:
    """Words in any order for 36 s: paths soon have the same past, and what they do not share is dropped."""
    random = np.random.default_rng(5)
    states = np.arange(12)
    graph = graph_from_arcs(
        np.repeat(states, 12), np.tile(states, 12), np.tile(states, 12), np.tile(states, 12),
        random.integers(0, 9, 144).astype(np.float32), np.zeros(12, np.float32), 0, 12, (0,),
        ["", *(f"w{i}" for i in states[1:])],
    )  # fmt: skip
    scores = random.integers(-8, 9, (1200, 12)).astype(np.float32)
    often, never = (
        BeamSearch(graph, BeamSearchSettings(beam=300.0, lattice_beam=2.0, forget_every_frames=every), SCRATCH)
        for every in (8, 1 << 20)
    )
    often.advance(scores)
    never.advance(scores)
    assert often.finish() == never.finish()
    assert often.partial() == never.partial()
    assert often.lattice(True) == never.lattice(True)
    assert often.trailing_silence_frames() == never.trailing_silence_frames()
    assert often.nbytes < never.nbytes / 2


@pytest.mark.parametrize(
    ("scores", "sentence"),
    [
        (np.zeros((2, 3), np.float32), "The graph needs 2 scores per frame, the array has shape (2, 3)."),
        (np.zeros(2, np.float32), "The graph needs 2 scores per frame, the array has shape (2,)."),
        (np.full((1, 2), np.nan, np.float32), "The scores of a frame must be finite numbers."),
    ],
)
def test_scores_of_a_wrong_kind_are_refused(scores: np.ndarray, sentence: str) -> None:
    with pytest.raises(ValueError) as refused:
        BeamSearch(chain([0.0]), EVERYTHING, SCRATCH).advance(scores)
    assert str(refused.value) == sentence


@pytest.mark.parametrize(
    "wrong",
    [
        {"beam": 0.0},
        {"beam": math.inf},
        {"max_active": 0},
        {"beam_delta": 13.0},
        {"lattice_beam": 13.0},
        {"lattice_beam": -1.0},
        {"lattice_entries": 0},
        {"forget_every_frames": 0},
    ],
)
def test_settings_that_contradict_each_other_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError):
        BeamSearchSettings(**wrong)  # type: ignore[arg-type]


class _Scores:
    def __init__(self, scores: np.ndarray) -> None:
        self.scores, self.ready = scores, 0

    def frames_ready(self) -> int:
        return self.ready

    def log_likelihoods(self, first: int, last: int) -> np.ndarray:
        return self.scores[first:last]


def test_pulls_from_a_decodable_what_is_ready_and_only_once() -> None:
    scores = np.array([[0, 4], [4, 0], [0, 4]], np.float32)
    pushed, pulled = (BeamSearch(chain([0.0, 0.0]), EVERYTHING, SCRATCH) for _ in range(2))
    pushed.advance(scores)
    source = _Scores(scores)
    for source.ready in (0, 2, 2, 3):
        pulled.decode(source)
        assert pulled.frames == source.ready
    assert pulled.finish() == pushed.finish()
