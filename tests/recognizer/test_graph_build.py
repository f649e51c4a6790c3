"""The built graph against first principles: language model, pronunciations, silences and durations summed by hand."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from recognizer.graph import Graph
from recognizer.graph_archive import pack_graph, unpack_graph
from recognizer.graph_build import build_graph, main
from recognizer.hmm_topology import HmmTopology, add_self_loops
from recognizer.language_model import LanguageModel, read_arpa
from recognizer.word_alignment import PronunciationTable, WordAligner
from tests.builders.small_graphs import ARPA, LEXICON, PHONES, cheapest_per_sentence, tiny_topology

kaldifst = pytest.importorskip("kaldifst")

ROUNDING = 4 / 1024
"""Determinisation and minimisation take weights within 1/1024 for equal; each runs twice."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    path = tmp_path_factory.mktemp("arpa") / "model.arpa"
    path.write_text(ARPA)
    return read_arpa(path, LEXICON)


@pytest.fixture(scope="module")
def graph(model: LanguageModel) -> Graph:
    return add_self_loops(build_graph(model, LEXICON, tiny_topology()), tiny_topology(), model.words)


def phone_strings(words: tuple[str, ...]) -> Iterator[tuple[tuple[int, ...], float]]:
    """Every way to say `words`: pronunciations and optional silences, as phone labels, with the silences' cost."""
    label = {phone: i + 1 for i, phone in enumerate(PHONES)}
    half = math.log(2)
    for spoken in itertools.product(*(LEXICON[word] for word in words)):
        for silences in itertools.product((False, True), repeat=len(words) + 1):
            phones: list[int] = []
            for silence, pronunciation in zip(silences, (*spoken, ()), strict=True):
                phones += [1] * silence + [label[phone] for phone in pronunciation]
            yield tuple(phones), half * len(silences)


def durations(phones: int, frames: int) -> Iterator[tuple[int, ...]]:
    for cuts in itertools.combinations(range(1, frames), phones - 1):
        edges = (0, *cuts, frames)
        yield tuple(b - a for a, b in itertools.pairwise(edges))


def cost_of(phones: tuple[int, ...], lengths: tuple[int, ...], topology: HmmTopology, scores: np.ndarray) -> float:
    cost, frame, left = 0.0, 0, 0
    for phone, length in zip(phones, lengths, strict=True):
        leaf = int(topology.leaf[left, phone])
        stay = float(topology.self_loop[leaf])
        cost -= (length - 1) * math.log(stay) + math.log(1 - stay)
        cost -= float(scores[frame, 2 * leaf]) + float(scores[frame + 1 : frame + length, 2 * leaf + 1].sum())
        frame, left = frame + length, phone
    return cost


def by_hand(
    model: LanguageModel, scores: np.ndarray, topology: HmmTopology | None = None
) -> dict[tuple[int, ...], float]:
    """Least cost per word sequence, straight from the sources."""
    topology, found = topology or tiny_topology(), {}
    for count in range(1, len(scores) + 1):
        for words in itertools.product(sorted(LEXICON), repeat=count):
            ids = tuple(model.words.index(word) for word in words)
            said = (1, *ids, 2)
            grammar = -sum(model.log_probability(said[max(0, i - 2) : i], said[i]) for i in range(1, len(said)))
            spoken = [
                grammar + silence + cost_of(phones, lengths, topology, scores)
                for phones, silence in phone_strings(words)
                if len(phones) <= len(scores)
                for lengths in durations(len(phones), len(scores))
            ]
            if spoken:
                found[ids] = min(spoken)
    return found


@pytest.mark.parametrize("seed", range(4))
def test_costs_are_those_of_model_pronunciation_silence_and_duration(
    graph: Graph, model: LanguageModel, seed: int
) -> None:
    scores = np.random.default_rng(seed).normal(0, 2, (4, graph.pdfs)).astype(np.float32)
    in_graph, expected = cheapest_per_sentence(graph, scores), by_hand(model, scores)
    assert set(in_graph) - {()} == set(expected)
    for words, cost in expected.items():
        # Backing off is allowed where a longer n-gram exists, and determinisation sums the probabilities of paths
        # that differ in nothing else: both make the graph cheaper, nothing makes it dearer.
        assert in_graph[words] <= cost + ROUNDING
    best = min(expected, key=expected.__getitem__)
    assert in_graph[best] == pytest.approx(expected[best], abs=math.log(2) + ROUNDING)


def test_the_archive_keeps_the_graph_up_to_its_rounding(model: LanguageModel, graph: Graph) -> None:
    fst, words = unpack_graph(pack_graph(build_graph(model, LEXICON, tiny_topology()), model.words))
    again = add_self_loops(fst, tiny_topology(), words)
    assert (again.state_count, len(again.arcs), again.words) == (graph.state_count, len(graph.arcs), graph.words)
    scores = np.random.default_rng(9).normal(0, 2, (4, graph.pdfs)).astype(np.float32)
    before, after = cheapest_per_sentence(graph, scores), cheapest_per_sentence(again, scores)
    assert set(before) == set(after)
    assert all(abs(after[words] - cost) < 0.2 for words, cost in before.items())


def test_every_step_is_announced(model: LanguageModel) -> None:
    from recognizer.graph_build import STEPS

    steps: list[str] = []
    build_graph(model, LEXICON, tiny_topology(), steps.append)
    assert tuple(steps) == STEPS


def _sources(folder: Path) -> list[str]:
    topology = tiny_topology()
    leaf = np.zeros((41, 41), np.int16)
    leaf[:, 1] = 0
    leaf[:, 2:] = 1 + np.arange(39) % 4
    np.savez(folder / "acoustic.npz", leaf=leaf, self_loop=topology.self_loop)
    (folder / "model.arpa").write_text(ARPA)
    (folder / "lexicon.txt").write_text("a AA\nab AA B\nbee B IY\nbe B IY\ncab K AE B\n")
    return [
        "--arpa", str(folder / "model.arpa"), "--lexicon", str(folder / "lexicon.txt"),
        "--acoustic", str(folder / "acoustic.npz"), "--out", str(folder / "graph"), "--quiet",
    ]  # fmt: skip


def test_the_command_writes_a_graph_that_loads(tmp_path: Path) -> None:
    assert main(_sources(tmp_path)) == 0
    graph = Graph.load(tmp_path / "graph")
    assert graph.pdfs == 10
    assert "cab" in graph.words
    assert graph.silence_pdfs == (0, 1)


def test_the_command_says_what_is_wrong_and_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = _sources(tmp_path)
    (tmp_path / "lexicon.txt").write_text("a QQ\n")
    assert main(arguments) == 1
    assert capsys.readouterr().err.strip() == (
        "The recognition graph was not built: Line 1 of the dictionary has the phone 'QQ', which the model lacks."
    )


def test_the_aligner_finds_the_times_that_the_cheapest_path_has(graph: Graph, model: LanguageModel) -> None:
    """Viterbi over the words' own HMM against enumeration of all pronunciations, silences and durations."""
    topology = tiny_topology()
    aligner = WordAligner(topology, PronunciationTable.build(model.words, LEXICON, PHONES))
    random = np.random.default_rng(3)
    for words in (("cab",), ("a", "bee"), ("ab", "a"), ("be", "be")):
        for frames in (3, 6):
            scores = random.normal(0, 2, (frames, topology.pdfs)).astype(np.float32)
            best = (math.inf, ())
            for phones, lengths, owners in _ways(words, frames):
                last = int(topology.leaf[phones[-2] if len(phones) > 1 else 0, phones[-1]])
                leaving = math.log(
                    1 - float(topology.self_loop[last])
                )  # the aligner does not leave the last phone
                best = min(best, (cost_of(phones, lengths, topology, scores) + leaving, _spans(lengths, owners)))
            ids = [model.words.index(word) for word in words]
            found = aligner.align(ids, scores)
            if not best[1]:
                assert found is None
                continue
            assert found is not None
            assert [(w.start_frame, w.end_frame) for w in found] == list(best[1])


def _ways(
    words: tuple[str, ...], frames: int
) -> Iterator[tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]]:
    label = {phone: i + 1 for i, phone in enumerate(PHONES)}
    for spoken in itertools.product(*(LEXICON[word] for word in words)):
        for silences in itertools.product((False, True), repeat=len(words) + 1):
            phones: list[int] = []
            owners: list[int] = []
            for place, (silence, pronunciation) in enumerate(zip(silences, (*spoken, ()), strict=True)):
                phones += [1] * silence + [label[phone] for phone in pronunciation]
                owners += [-1] * silence + [place] * len(pronunciation)
            if len(phones) <= frames:
                for lengths in durations(len(phones), frames):
                    yield tuple(phones), lengths, tuple(owners)


def _spans(lengths: tuple[int, ...], owners: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    edges = [0, *itertools.accumulate(lengths)]
    places = sorted(set(owners) - {-1})
    return tuple(
        (
            min(edges[i] for i, owner in enumerate(owners) if owner == place),
            max(edges[i + 1] for i, owner in enumerate(owners) if owner == place),
        )
        for place in places
    )


def test_leaves_shared_by_two_phones_are_determinised_again(model: LanguageModel) -> None:
    own = tiny_topology()
    leaf = own.leaf.copy()
    leaf[:, 3] = leaf[:, 4]  # B sounds like C
    shared = HmmTopology(own.phones, np.where(leaf == 4, 3, leaf).astype(np.int16), own.self_loop[:4])
    graph = add_self_loops(build_graph(model, LEXICON, shared), shared, model.words)
    scores = np.random.default_rng(0).normal(0, 2, (3, graph.pdfs)).astype(np.float32)
    whole = by_hand(model, scores, shared)
    found = cheapest_per_sentence(graph, scores)
    assert set(found) - {()} == set(whole)
    assert all(found[words] <= cost + ROUNDING for words, cost in whole.items())


def test_what_was_built_is_told_as_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = _sources(tmp_path)
    arguments.remove("--quiet")
    assert main(arguments) == 0
    printed = capsys.readouterr().err
    assert "determinise" in printed
    assert "peak memory of the build" in printed
