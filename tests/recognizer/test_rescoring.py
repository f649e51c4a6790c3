"""Rescored lattices against every sentence scored one by one, and the policy of the second pass."""

from __future__ import annotations

import functools
import importlib.util
import math
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from events import metrics
from recognizer.beam_search import BeamSearch, BeamSearchSettings, Hypothesis, HypothesisWord, SearchScratch
from recognizer.graph import Graph, graph_from_arcs
from recognizer.graph_build import build_graph
from recognizer.hmm_topology import add_self_loops
from recognizer.language.arpa_file import read_arpa
from recognizer.language.compact_model import CompactModel, pack, unpacked
from recognizer.language_model import read_arpa as read_language_model
from recognizer.lattice import Lattice, sorted_lattice
from recognizer.model_pack import ModelPackError
from recognizer.recogniser import RecogniserSettings
from recognizer.rescoring import LatticeRescorer, RescoringSettings
from recognizer.rescoring_models import installed_model
from recognizer.second_pass import SecondPassSettings, second_pass
from recognizer.vocabulary_graft import SpokenPhrase, graft
from recognizer.vocabulary_settings import GraftSettings
from tests.builders.small_graphs import ARPA, LEXICON, PHONES, tiny_topology
from tests.builders.small_recogniser import demo_audio, small_recogniser
from tests.recognizer.test_lattice import sentences_of

needs_kaldifst = pytest.mark.skipif(
    importlib.util.find_spec("kaldifst") is None, reason="needs kaldifst: pip install 'callwarden[onnx]'"
)
WORDS = ("", "<s>", "</s>", "a", "ab", "be", "bee", "cab", "acme")
BIGGER = ARPA.replace("-0.9 </s>", "-0.5 </s>").replace("-0.6 a bee", "-0.1 a bee").replace("-0.6 cab", "-1.2 cab")


@functools.cache
def model_of(text: str) -> CompactModel:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.arpa"
        path.write_text(text, "utf-8")
        return unpacked(pack(read_arpa(path)))


def score(model: CompactModel, words: list[str], ends: bool) -> float:
    """Log probability by the public steps; a word outside ("acme") counts nothing and forgets what was before."""
    state, total = model.start, 0.0
    for word in words:
        if word not in model.words:
            state = 0
            continue
        state, gained = model.step(state, model.words.index(word))
        total += gained
    return total + (model.end(state) if ends else 0.0)


def random_lattice(seed: int) -> Lattice:
    random = np.random.default_rng(seed)
    nodes = 7
    arcs = {
        (source, int(word)): int(random.integers(source + 1, nodes))
        for source in range(nodes - 1)
        for word in random.choice(np.arange(3, len(WORDS)), 3, replace=False)
    }
    ends = np.where(random.random(nodes) < 0.4, random.random(nodes), np.inf)
    ends[-1] = 0.5
    count = len(arcs)
    return sorted_lattice(
        np.array([source for source, _ in arcs]), np.array(list(arcs.values())), np.array([w for _, w in arcs]),
        random.random(count), random.random(count), np.arange(nodes, dtype=np.int32), ends, np.zeros(nodes), 7, 9.0,
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(("weight", "ends"), [(1.0, True), (0.5, False)])
def test_every_sentence_gets_the_bigger_models_score(seed: int, weight: float, ends: bool) -> None:
    small, big = model_of(ARPA), model_of(BIGGER)
    before = random_lattice(seed)
    after = LatticeRescorer(WORDS, small, big, RescoringSettings(weight)).rescore(before, ends)
    wanted = {}
    for ids, _, cost in sentences_of(before):
        words = [WORDS[i] for i in ids]
        wanted[ids] = cost + weight * (score(small, words, ends) - score(big, words, ends))
    found = [(ids, cost) for ids, _, cost in sentences_of(after)]
    assert len(found) == len(wanted)
    assert dict(found) == pytest.approx(wanted)
    assert after.best_path()[1] == pytest.approx(min(wanted.values()))


def test_no_weight_and_the_same_model_change_no_cost() -> None:
    small, big = model_of(ARPA), model_of(BIGGER)
    before = random_lattice(3)
    truth = {ids: cost for ids, _, cost in sentences_of(before)}
    for other, weight in ((big, 0.0), (small, 1.0)):
        after = LatticeRescorer(WORDS, small, other, RescoringSettings(weight)).rescore(before, True)
        assert {ids: cost for ids, _, cost in sentences_of(after)} == pytest.approx(truth)


def test_what_was_said_before_counts() -> None:
    small, big = model_of(ARPA), model_of(BIGGER)
    rescorer = LatticeRescorer(WORDS, small, big, RescoringSettings(1.0))
    before = random_lattice(1)
    best = {ids: cost for ids, _, cost in sentences_of(rescorer.rescore(before, True, history=(7, 3)))}
    for ids, _, cost in sentences_of(before):
        words = [WORDS[i] for i in ids]
        gains = [score(m, ["cab", "a", *words], True) - score(m, ["cab", "a"], False) for m in (small, big)]
        assert best[ids] == pytest.approx(cost + gains[0] - gains[1])


@needs_kaldifst
def test_words_of_a_site_keep_what_they_cost_and_their_place_among_others(tmp_path: Path) -> None:
    """A vocabulary's word, unknown to both models, on a real lattice of a graph that it was grafted onto."""
    (tmp_path / "model.arpa").write_text(ARPA)
    language = read_language_model(tmp_path / "model.arpa", LEXICON)
    topology = tiny_topology()
    graph = add_self_loops(build_graph(language, LEXICON, topology), topology, language.words)
    label = {phone: i + 1 for i, phone in enumerate(PHONES)}
    phrases = [
        SpokenPhrase((*words,), tuple((tuple(label[p] for p in said[word]),) for word in words), 3.0)
        for said in ({"acme": "CAC", "bee": "B"},)
        for words in (("acme",), ("acme", "bee"))
    ]
    grown = graft(graph, topology, phrases, GraftSettings(new_word_cost=2.0))
    acme = grown.words.index("acme")
    scores = np.random.default_rng(4).normal(0, 1, (6, topology.pdfs)).astype(np.float32)
    search = BeamSearch(
        grown, BeamSearchSettings(beam=100.0, lattice_beam=60.0, lattice_entries=999), SearchScratch()
    )
    search.advance(scores)
    before = search.lattice(search.finish().reached_final)
    assert before is not None
    small, big = model_of(ARPA), model_of(BIGGER)
    after = LatticeRescorer(grown.words, small, big, RescoringSettings(1.0)).rescore(before, True)
    costs = {ids: cost for ids, _, cost in sentences_of(before)}
    found = {ids: cost for ids, _, cost in sentences_of(after)}
    assert found.keys() == costs.keys()
    with_acme = {ids for ids in costs if acme in ids}
    assert 0 < len(with_acme) < len(costs)
    assert found[(acme,)] - costs[(acme,)] == pytest.approx(small.end(0) - big.end(0))
    for ids, cost in found.items():
        words = [grown.words[i] for i in ids]
        assert cost - costs[ids] == pytest.approx(score(small, words, True) - score(big, words, True))


def test_a_lattice_that_would_grow_too_big_stays_as_it_was() -> None:
    small, big = model_of(ARPA), model_of(BIGGER)
    before = random_lattice(2)
    assert LatticeRescorer(WORDS, small, big, RescoringSettings(1.0, most_nodes=2)).rescore(before, True) is before


@pytest.mark.parametrize("wrong", [{"weight": 1.5}, {"weight": math.nan}, {"most_nodes": 0}])
def test_wrong_rescoring_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError):
        RescoringSettings(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wrong",
    [{"below_confidence": 1.1}, {"beam": 0.0}, {"beam": math.inf}, {"lattice_beam": 16.0}, {"max_active": 0}],
)
def test_wrong_second_pass_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError):
        SecondPassSettings(**wrong)  # type: ignore[arg-type]


def test_only_what_is_unsure_is_looked_at_again() -> None:
    words = (HypothesisWord("a", 0, 1, 0.9), HypothesisWord("b", 1, 2, 0.3))
    unsure = Hypothesis(words, (3, 4), 1.0, 2, True)
    assert SecondPassSettings(0.7).wanted(unsure)
    assert not SecondPassSettings(0.5).wanted(unsure)
    assert not SecondPassSettings(0.0).wanted(unsure)
    assert SecondPassSettings(1.0).wanted(unsure)
    assert not SecondPassSettings(1.0).wanted(replace(unsure, words=(), word_ids=()))


def garden_path() -> Graph:
    """Word 3 looks better at first (by 4) and is worse in the end (by 2)."""
    return graph_from_arcs(
        np.array([0, 0, 1, 2]), np.array([1, 2, 1, 2]), np.array([0, 1, 0, 1]), np.array([3, 4, 0, 0]),
        np.zeros(4, np.float32), np.array([np.inf, 0, 0], np.float32), 0, 2, (), WORDS,
    )  # fmt: skip


def test_a_wider_beam_finds_what_the_first_one_lost() -> None:
    scores = np.array([[4, 0], [0, 6]], np.float32)
    scratch = SearchScratch()
    narrow = BeamSearch(garden_path(), BeamSearchSettings(beam=2.0, lattice_beam=1.0), scratch)
    narrow.advance(scores)
    first, lattice = narrow.finish(), narrow.lattice(True)
    assert first.word_ids == (3,)
    settings = SecondPassSettings(1.0, beam=8.0, lattice_beam=8.0)
    found, wider = second_pass(first, narrow, lattice, scores, settings, scratch, None)
    assert (found.word_ids, found.cost) == ((4,), -6.0)
    assert wider is not None
    assert {ids for ids, _, _ in sentences_of(wider)} == {(3,), (4,)}
    small, big = model_of(ARPA), model_of(ARPA.replace("-0.8 ab", "-3.8 ab"))
    rescorer = LatticeRescorer(WORDS, small, big, RescoringSettings(1.0))
    found, _ = second_pass(first, narrow, lattice, scores, settings, scratch, rescorer)
    assert found.word_ids == (3,)
    assert found.words[0].text == "a"
    assert found.cost == pytest.approx(-4.0)


def test_the_recogniser_looks_again_and_counts_it() -> None:
    recogniser = small_recogniser(
        RecogniserSettings(keep_lattice=True, second_pass=SecondPassSettings(1.0, beam=14.0))
    )
    from recognizer.session import RecognitionSession

    before = metrics.counted(metrics.SECOND_PASSES)
    session = RecognitionSession(recogniser)
    told = [u for u in session.accept(demo_audio("agent")[: 8 * 8000]) + session.finish() if u.status == "final"]
    assert told
    assert metrics.counted(metrics.SECOND_PASSES) - before >= len(told)
    assert all(0 < word.confidence <= 1 for utterance in told for word in utterance.words)


def test_models_are_unpacked_once_and_damage_is_told(tmp_path: Path) -> None:
    arpa, cache = tmp_path / "general.arpa", tmp_path / "cache"
    arpa.write_text(ARPA, "utf-8")
    packed = tmp_path / "big.lm"
    packed.write_bytes(pack(read_arpa(arpa)))
    for path in (arpa, packed):
        first = installed_model(path, cache)
        made = {file: file.stat().st_mtime_ns for file in cache.rglob("*.npy")}
        again = installed_model(path, cache)
        assert {file: file.stat().st_mtime_ns for file in cache.rglob("*.npy")} == made
        for words in (["cab", "a", "bee"], ["ab", "ab"], ["be"]):
            assert again.sentence_log_probability(words) == first.sentence_log_probability(words)
            wanted = model_of(ARPA).sentence_log_probability(words)
            assert first.sentence_log_probability(words) == pytest.approx(wanted, abs=1e-4)
    assert not list(cache.rglob("unpacking-*"))
    packed.write_bytes(b"not a model")
    with pytest.raises(ModelPackError, match="cannot be used"):
        installed_model(packed, cache)
    with pytest.raises(ModelPackError, match="could not be unpacked"):
        installed_model(tmp_path / "none.lm", cache)
