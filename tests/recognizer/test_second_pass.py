"""The second pass in a session and from a pack: rescored words are as repeatable as any, and nothing needs them."""

from __future__ import annotations

import itertools
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from events import metrics
from events.transcript import SegmentStatus
from recognizer.beam_search import BeamSearchSettings
from recognizer.endpoint import EndpointSettings
from recognizer.evaluation.lattice_oracle import LatticeKeeper
from recognizer.language.arpa_file import read_arpa
from recognizer.language.compact_model import pack as packed
from recognizer.model_pack import DEFAULT_PACK, ModelPack, ModelPackError, read_manifest, seal_manifest
from recognizer.recogniser import Recogniser, RecogniserSettings
from recognizer.rescoring import RescoringSettings
from recognizer.rescoring_models import install_models
from recognizer.second_pass import SecondPassSettings
from recognizer.session import Place, RecognitionSession, Utterance, needed_from
from tests.builders.small_graphs import ARPA
from tests.builders.small_packs import tiny_pack
from tests.builders.small_recogniser import contrary_recogniser, demo_audio, small_recogniser

BLOCK = 800
ALWAYS = RecogniserSettings(second_pass=SecondPassSettings(1.0), rescoring=RescoringSettings(1.0))


@pytest.fixture(scope="module")
def audio() -> np.ndarray:
    return demo_audio("agent")[: 8000 * 26 + 123]


@pytest.fixture(scope="module")
def rescoring() -> Recogniser:
    return contrary_recogniser(ALWAYS)


def told(session: RecognitionSession, audio: np.ndarray, block: int = BLOCK) -> list[Utterance]:
    pieces = np.split(audio, range(block, len(audio), block))
    return [utterance for piece in pieces for utterance in session.accept(piece)] + session.finish()


def finals(utterances: list[Utterance]) -> list[Utterance]:
    return [utterance for utterance in utterances if utterance.status is SegmentStatus.FINAL]


def test_rescored_words_depend_neither_on_pieces_nor_on_who_tells_them(
    rescoring: Recogniser, audio: np.ndarray
) -> None:
    session = RecognitionSession(rescoring)
    heard, places = [], {Place(0)}
    for first in range(0, len(audio), BLOCK):
        heard += session.accept(audio[first : first + BLOCK])
        places.add(session.place)
    heard += session.finish()
    plain = finals(told(RecognitionSession(small_recogniser()), audio))
    assert [u.text for u in finals(heard)] != [u.text for u in plain], "the rescorer had nothing to say"
    assert [u.first_sample for u in finals(heard)] == [u.first_sample for u in plain]
    assert finals(told(RecognitionSession(rescoring), audio, 7777)) == finals(heard)
    for place in places:
        needed = needed_from(rescoring, 0, place.first_sample)
        again = told(RecognitionSession(rescoring, 0, place, needed), audio[needed:])
        assert again == [utterance for utterance in heard if utterance.first_sample >= place.first_sample]


def test_what_lies_behind_a_cut_is_told_once(audio: np.ndarray) -> None:
    impatient = EndpointSettings(
        sentence_end_silence_ms=990, pause_silence_ms=990, long_pause_silence_ms=990,
        nothing_said_ms=1500, longest_utterance_ms=1500,
    )  # fmt: skip
    hasty = replace(ALWAYS, endpoint=impatient, rescoring=RescoringSettings(0.0))
    # A second pass without weight finds the first one's words again, wherever the utterances were cut.
    cut = finals(told(RecognitionSession(contrary_recogniser(hasty)), audio))
    plain = finals(told(RecognitionSession(small_recogniser(RecogniserSettings(endpoint=impatient))), audio))
    assert len(cut) > 8
    assert [u.text for u in cut] == [u.text for u in plain]
    for before, after in itertools.pairwise(cut):
        assert before.words[-1].end_ms <= before.end_sample // 8 <= after.words[0].start_ms


def test_a_kept_lattice_is_kept_once(audio: np.ndarray) -> None:
    keeper = contrary_recogniser(ALWAYS)
    kept = LatticeKeeper(keeper.model, keeper.graph, keeper._aligner, keeper._confidence, RecogniserSettings(
        endpoint=EndpointSettings(sentence_end_silence_ms=990, pause_silence_ms=990, long_pause_silence_ms=990,
                                  nothing_said_ms=1500, longest_utterance_ms=1500)))  # fmt: skip
    kept.lattices = []
    assert len(finals(told(RecognitionSession(kept), audio[: 8 * 8000]))) == len(kept.lattices) > 2


def test_without_a_bigger_model_there_is_no_second_pass(audio: np.ndarray) -> None:
    before = metrics.counted(metrics.SECOND_PASSES)
    some = audio[: 8 * 8000]
    assert told(RecognitionSession(small_recogniser(ALWAYS)), some) == told(
        RecognitionSession(small_recogniser()), some
    )
    assert metrics.counted(metrics.SECOND_PASSES) == before


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("kaldifst", reason="needs kaldifst: pip install 'callwarden[onnx]'")
    return tiny_pack(tmp_path_factory.mktemp("packs") / "tiny")


@pytest.fixture
def pack(made: Path, tmp_path: Path) -> Path:
    folder = Path(shutil.copytree(made, tmp_path / "tiny"))
    (tmp_path / "big.arpa").write_text(ARPA.replace("-0.8 ab", "-6.8 ab").replace("-0.7 ab ab", "-6.7 ab ab"))
    (folder / "big.lm").write_bytes(packed(read_arpa(tmp_path / "big.arpa")))
    seal_manifest(folder, {**read_manifest(folder), "rescoring_language_model": "big.lm"})
    return folder


def test_a_packs_bigger_model_is_used_by_the_weight_that_is_set(
    pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CALLWARDEN_CACHE", str(tmp_path / "cache"))
    install_models(pack)
    assert len(list((tmp_path / "cache" / "language-models").glob("*/words.txt"))) == 2
    loaded = ModelPack.load(pack)
    rng = np.random.default_rng(1)
    audio = (rng.normal(0, 0.05, 48_000) * np.repeat(rng.integers(0, 2, 30), 1600)).astype(np.float32)
    texts = {}
    open_minded = replace(ALWAYS, search=BeamSearchSettings(beam=20.0, lattice_beam=20.0))
    for weight in (0.0, 1.0):
        recogniser = Recogniser.of_pack(loaded, replace(open_minded, rescoring=RescoringSettings(weight)))
        texts[weight] = " ".join(u.text for u in finals(told(RecognitionSession(recogniser), audio)))
    unused = Recogniser.of_pack(loaded, replace(open_minded, second_pass=SecondPassSettings(0.0)))
    assert texts[0.0] == " ".join(u.text for u in finals(told(RecognitionSession(unused), audio)))
    assert "ab" in texts[0.0].split()
    assert texts[0.0].split().count("ab") > texts[1.0].split().count("ab")


def test_a_damaged_bigger_model_is_told_in_one_sentence(pack: Path) -> None:
    (pack / "big.lm").write_bytes((pack / "big.lm").read_bytes()[:-9])
    loaded = ModelPack.load(pack)
    with pytest.raises(ModelPackError, match=r"^The model pack's file big\.lm is damaged"):
        Recogniser.of_pack(loaded, ALWAYS)
    seal_manifest(pack, read_manifest(pack))
    with pytest.raises(ModelPackError, match=r"^The pack's language model for rescoring cannot be used: .*\.$"):
        Recogniser.of_pack(loaded, ALWAYS)
    Recogniser.of_pack(loaded, RecogniserSettings(second_pass=SecondPassSettings(0.0)))


def test_the_shipped_pack_takes_a_second_pass_of_every_utterance() -> None:
    recogniser = Recogniser.of_pack(ModelPack.load(DEFAULT_PACK), ALWAYS)
    utterances = finals(told(RecognitionSession(recogniser), demo_audio("customer")[: 10 * 8000]))
    assert utterances
    assert all(0 < word.confidence <= 1 for utterance in utterances for word in utterance.words)
