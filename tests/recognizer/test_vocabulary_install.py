"""A pack with a vocabulary: made once, shared, renewed when the words change, refused in one sentence."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from recognizer.acoustic_section import KINDS
from recognizer.graph_archive import pack_graph
from recognizer.graph_build import build_graph
from recognizer.language_model import read_arpa
from recognizer.model_pack import DEFAULT_PACK, ModelPack, install_graph, read_manifest, seal_manifest, write_graph
from recognizer.vocabulary import Vocabulary, VocabularyEntry, VocabularyError
from recognizer.vocabulary_install import VocabularySources, WordsNotTaken, takes_words, with_vocabulary
from recognizer.vocabulary_settings import GraftSettings, VocabularySettings
from recognizer.word_alignment import WordAligner
from tests.builders.small_graphs import ARPA, LEXICON, PHONES, tiny_topology
from tests.builders.small_packs import tiny_ctc_pack

pytest.importorskip("kaldifst")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A complete pack of the tiny language."""
    folder = tmp_path / "pack"
    folder.mkdir()
    topology = tiny_topology()
    np.savez(folder / "acoustic.npz", leaf=topology.leaf, self_loop=topology.self_loop)
    (folder / "model.arpa").write_text(ARPA)
    lines = [f"{word} {' '.join(p)}" for word, variants in LEXICON.items() for p in variants]
    (folder / "lexicon.txt").write_text("\n".join(lines))
    manifest = {
        **read_manifest(DEFAULT_PACK), "name": "tiny", "phones": list(PHONES), "acoustic_model": "acoustic.npz",
        "lexicon": "lexicon.txt", "language_model": "model.arpa", "graph": [],
    }  # fmt: skip
    seal_manifest(folder, manifest)
    model = read_arpa(folder / "model.arpa", LEXICON)
    write_graph(folder, pack_graph(build_graph(model, LEXICON, topology), model.words))
    return folder


def sources(
    *words: str, boost: float = 2.0, way: str = "B C A", rules: tuple[tuple[str, ...], ...] = ()
) -> VocabularySources:
    entries = [VocabularyEntry.checked(word, boost, (way,)) for word in words]
    return VocabularySources(Vocabulary().added(*entries), rules)


def graphs(cache: Path) -> list[str]:
    return sorted(path.name for path in (cache / "graphs").iterdir() if "+" in path.name)


def test_without_words_a_pack_stays_as_it_is(folder: Path, tmp_path: Path) -> None:
    pack = ModelPack.load(folder, tmp_path)
    assert with_vocabulary(pack, VocabularySources(), tmp_path) is pack
    without = VocabularySources(rules=(("a",),), settings=VocabularySettings(rulebook_boost=0))
    assert with_vocabulary(pack, without, tmp_path) is pack


def test_new_words_are_in_the_graph_and_can_be_aligned(folder: Path, tmp_path: Path) -> None:
    pack = ModelPack.load(folder, tmp_path)
    grown = with_vocabulary(pack, sources("Back"), tmp_path)
    assert grown.graph.words == (*pack.graph.words, "back")
    assert isinstance(grown.aligner, WordAligner)
    scores = np.random.default_rng(0).normal(size=(9, pack.graph.pdfs)).astype(np.float32)
    aligned = grown.aligner.align([len(pack.graph.words)], scores)
    assert aligned is not None
    assert aligned[0].phones == 3
    assert grown.graph.arcs.base is not None  # mapped, as the pack's own


def test_the_same_words_share_one_graph_and_others_get_another(folder: Path, tmp_path: Path) -> None:
    pack = ModelPack.load(folder, tmp_path)
    with_vocabulary(pack, sources("back"), tmp_path)
    (first,) = graphs(tmp_path)
    before = (tmp_path / "graphs" / first / "arcs.npy").stat().st_ino
    with_vocabulary(pack, sources("back"), tmp_path)
    assert (tmp_path / "graphs" / first / "arcs.npy").stat().st_ino == before
    with_vocabulary(pack, sources("back", boost=2.5), tmp_path)
    assert len(graphs(tmp_path)) == 2
    assert first.startswith(install_graph(folder, tmp_path).name)
    assert first.endswith(sources("back").fingerprint())


def test_graphs_of_old_vocabularies_go(folder: Path, tmp_path: Path) -> None:
    pack = ModelPack.load(folder, tmp_path)
    held = with_vocabulary(pack, sources("back"), tmp_path)
    for boost in (0.5, 1.0, 1.5, 2.5):
        with_vocabulary(pack, sources("back", boost=boost), tmp_path)
    assert len(graphs(tmp_path)) == 3
    assert not any(name.endswith(sources("back").fingerprint()) for name in graphs(tmp_path))
    assert len(held.graph.arcs) > len(pack.graph.arcs)
    assert install_graph(folder, tmp_path).exists()


def test_rulebooks_phrases_are_boosted_and_their_missing_words_said(folder: Path, tmp_path: Path) -> None:
    pack = ModelPack.load(folder, tmp_path)
    common = VocabularySettings(graft=GraftSettings(new_word_cost=2.5, common_cost=0.0))
    grown = with_vocabulary(pack, VocabularySources(rules=(("cab", "a"), ("be*",)), settings=common), tmp_path)
    assert grown.graph.words == pack.graph.words
    assert len(grown.graph.arcs) > len(pack.graph.arcs)
    strange = VocabularySources(rules=(("x" * 60,), ("日本",)))
    assert len(with_vocabulary(pack, strange, tmp_path).graph.words) == len(pack.graph.words)


def _install(folder: Path, cache: Path) -> None:
    with_vocabulary(ModelPack.load(folder, cache), sources("back"), cache)


def test_processes_that_start_together_make_one_graph(folder: Path, tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    workers = [spawn.Process(target=_install, args=(folder, tmp_path)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(100)
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert len(graphs(tmp_path)) == 1


def _damage_pronunciations(grown: Path) -> None:
    (grown / "said.json").write_text("[1]")


def _lose_pronunciations(grown: Path) -> None:
    (grown / "said.json").unlink()


def _tear_arcs(grown: Path) -> None:
    arcs = (grown / "arcs.npy").read_bytes()
    (grown / "arcs.npy").unlink()
    (grown / "arcs.npy").write_bytes(arcs[: len(arcs) // 2])


def _leave_the_folder_only(grown: Path) -> None:
    for path in grown.iterdir():
        path.unlink()


@pytest.mark.parametrize(
    "damage", [_damage_pronunciations, _lose_pronunciations, _tear_arcs, _leave_the_folder_only]
)
def test_what_is_damaged_in_the_cache_is_made_again(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: Callable[[Path], None]
) -> None:
    pack = ModelPack.load(folder, tmp_path)
    held = with_vocabulary(pack, sources("back"), tmp_path)
    (name,) = graphs(tmp_path)
    damage(tmp_path / "graphs" / name)
    again = with_vocabulary(pack, sources("back"), tmp_path)
    assert again.graph.words == held.graph.words
    assert np.array_equal(again.graph.arcs, held.graph.arcs), "processes that have the old one mapped keep it"
    assert "is made again" in caplog.text
    assert "back" not in caplog.text
    assert graphs(tmp_path) == [name]


def test_what_a_killed_process_left_in_the_cache_goes(folder: Path, tmp_path: Path) -> None:
    pack = ModelPack.load(folder, tmp_path)
    left = tmp_path / "graphs" / "unpacking-abc"
    left.mkdir()
    (left / "arcs.npy").touch()
    with_vocabulary(pack, sources("back"), tmp_path)
    assert not left.exists()


def test_a_cache_that_cannot_be_written_is_told(folder: Path, tmp_path: Path) -> None:
    pack = ModelPack.load(folder, tmp_path)
    (tmp_path / "graphs" / ".lock").unlink()
    (tmp_path / "graphs" / ".lock").mkdir()
    with pytest.raises(VocabularyError, match=r"^The vocabulary was not put into the graph: Is a directory\.$"):
        with_vocabulary(pack, sources("back"), tmp_path)


def test_a_pack_with_a_ctc_model_takes_no_words_and_says_so(tmp_path: Path) -> None:
    pack = ModelPack.load(tiny_ctc_pack(tmp_path / "ctc"), tmp_path)
    assert with_vocabulary(pack, VocabularySources(), tmp_path) is pack
    with pytest.raises(WordsNotTaken) as refused:
        with_vocabulary(pack, sources("back"), tmp_path)
    assert str(refused.value) == "The model tiny-ctc is of the kind onnx-ctc, which takes no words yet."
    assert graphs(tmp_path) == []
    assert [kind for kind in KINDS if not takes_words(kind)] == ["onnx-ctc"]


def test_a_hybrid_model_takes_words_as_our_own_does(folder: Path, tmp_path: Path) -> None:
    manifest = read_manifest(folder)
    (folder / "acoustic.npz").rename(folder / "hybrid.npz")
    (folder / "acoustic.onnx").write_bytes(b"nobody runs it")
    section = {"kind": "onnx-hybrid", "file": "acoustic.onnx"}
    seal_manifest(folder, {**manifest, "format": 2, "acoustic": section, "acoustic_model": "acoustic.onnx"})
    grown = with_vocabulary(ModelPack.load(folder, tmp_path), sources("back"), tmp_path)
    assert grown.graph.words[-1] == "back"


@pytest.mark.slow
def test_ten_thousand_words_and_phrases(folder: Path, tmp_path: Path) -> None:
    """Built within the test's time, and no larger than the words themselves need."""
    random = np.random.default_rng(1)
    ways = {" ".join(random.choice(PHONES[1:], 12)) for _ in range(10_000)}
    entries = [VocabularyEntry.checked(f"word{i}", 3.0, (way,)) for i, way in enumerate(sorted(ways))]
    phrases = [
        VocabularyEntry.checked(f"cab word{i}", 12.0, (f"C A B | {way}",))
        for i, way in enumerate(sorted(ways)[:2000])
    ]
    pack = ModelPack.load(folder, tmp_path)
    grown = with_vocabulary(pack, VocabularySources(Vocabulary().added(*entries, *phrases)), tmp_path)
    assert len(grown.graph.words) == len(pack.graph.words) + len(ways)
    assert len(grown.graph.arcs) < 60 * len(entries) + 30 * len(phrases)
    assert np.isfinite(grown.graph.arcs["weight"]).all()
