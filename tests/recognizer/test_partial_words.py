"""When guesses are told, and that words called stable stay."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from events.transcript import SegmentStatus
from recognizer.beam_search import BeamSearch, BeamSearchSettings
from recognizer.partial_words import PartialSettings, PartialWords
from recognizer.recogniser import Recogniser
from recognizer.session import RecognitionSession, Utterance
from tests.builders.small_graphs import GraphAndScores, graphs_and_scores
from tests.builders.small_recogniser import demo_audio, small_recogniser

FRAME_MS = 30
SETTINGS = PartialSettings(every_ms=300, stable_margin=6.0, stable_after_ms=900)
WIDE = BeamSearchSettings(beam=1e4, lattice_beam=1e3)


def test_a_new_word_is_told_at_once_and_other_changes_in_their_turn() -> None:
    partial = PartialWords(SETTINGS, FRAME_MS)
    assert not partial.changed((), 0, 2)
    assert not partial.changed((1,), 0, 4)
    assert partial.changed((1,), 0, 6)
    assert partial.changed((1, 2), 0, 8)
    assert not partial.changed((1, 2), 0, 10)
    assert not partial.changed((1, 3), 0, 16)
    assert partial.changed((1, 3), 0, 18)
    assert not partial.changed((1,), 0, 20)
    assert partial.changed((1, 4, 5), 0, 22)


def test_words_become_stable_by_agreement_or_with_time_and_stay_so_while_they_are_there() -> None:
    partial = PartialWords(SETTINGS, FRAME_MS)
    partial.changed((1, 2, 3), 1, 10)
    assert partial.stable == 1
    partial.changed((1, 2, 3), 0, 38)
    assert partial.stable == 1
    partial.changed((1, 2, 4), 0, 40)
    assert partial.stable == 2
    partial.changed((1, 2, 4), 9, 42)
    assert partial.stable == 3
    partial.changed((1, 5), 0, 44)
    assert partial.stable == 1


def test_that_words_have_become_stable_is_told() -> None:
    partial = PartialWords(SETTINGS, FRAME_MS)
    assert partial.changed((1, 2), 0, 10)
    assert partial.changed((1, 2), 1, 30)
    assert not partial.changed((1, 2), 1, 34)


@settings(max_examples=150, deadline=None)
@given(graphs_and_scores(most_frames=6), st.sampled_from((0.0, 1.0, 4.0, 1e3)))
def test_agreed_words_are_those_of_every_path_within_the_margin(drawn: GraphAndScores, margin: float) -> None:
    graph, scores = drawn.graph, drawn.scores
    search = BeamSearch(graph, WIDE)
    search.advance(scores)
    agreed, best = search.agreed_words(margin), search.partial().word_ids
    assert 0 <= agreed <= len(best)
    living = search._living
    for i in np.flatnonzero(living["cost"] <= living["cost"].min(initial=np.inf) + np.float32(margin)):
        costs = np.full(len(living), np.inf, np.float32)
        costs[i] = 0.0
        assert search._trace(costs, reached_final=False).word_ids[:agreed] == best[:agreed]


@settings(max_examples=100, deadline=None)
@given(graphs_and_scores(most_frames=6))
def test_words_that_all_living_paths_agree_on_never_change(drawn: GraphAndScores) -> None:
    graph, scores = drawn.graph, drawn.scores
    search = BeamSearch(graph, WIDE)
    agreed: tuple[int, ...] = ()
    for frame in range(len(scores)):
        search.advance(scores[frame : frame + 1])
        now = search.partial().word_ids
        if search._living.size:
            assert now[: len(agreed)] == agreed
            agreed = now[: search.agreed_words(1e6)]


@pytest.fixture(scope="module")
def recogniser() -> Recogniser:
    return small_recogniser()


def test_stable_words_of_a_voice_are_those_of_its_final_segments(recogniser: Recogniser) -> None:
    session, audio = RecognitionSession(recogniser), demo_audio("agent")[: 8000 * 30]
    told: list[Utterance] = []
    for first in range(0, len(audio), 800):
        told += session.accept(audio[first : first + 800])
    told += session.finish()
    stable = wrong = 0
    for _, versions in itertools.groupby(told, lambda utterance: utterance.first_sample):
        *partials, final = versions
        assert final.status is SegmentStatus.FINAL
        assert final.stable_words == 0
        said = [word.text for word in final.words]
        for partial in partials:
            words = [word.text for word in partial.words[: partial.stable_words]]
            stable += len(words)
            wrong += words != said[: len(words)]
    assert stable > 100
    assert wrong <= 0.01 * stable


@pytest.mark.parametrize("wrong", [{"every_ms": 0}, {"stable_after_ms": -1}, {"stable_margin": float("inf")}])
def test_settings_are_checked(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"must be"):
        PartialSettings(**wrong)  # type: ignore[arg-type]
