"""The shipped pack on real speech: error rate, word times, confidences, and equality with Kaldi's decoder."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from dsp.resample import TELEPHONE_RATE
from recognizer.beam_search import BeamSearch, BeamSearchSettings
from recognizer.evaluation.audio_file import read_audio
from recognizer.evaluation.measurement import measure
from recognizer.evaluation.systems import Callwarden
from recognizer.evaluation.test_set import read_test_set
from recognizer.features import FeatureStream
from recognizer.flat_fst import FlatFst
from recognizer.graph import Graph
from recognizer.model_pack import ModelPack
from recognizer.recogniser import Recogniser

pytest.importorskip("soundfile")

SET = Path(__file__).parent.parent / "golden" / "speech" / "librispeech-dev.tsv"


@pytest.fixture(scope="module")
def pack() -> ModelPack:
    return ModelPack.load()


def scores_of(pack: ModelPack, samples: np.ndarray) -> np.ndarray:
    model = Recogniser.of_pack(pack).model
    network = model.stream()
    block = FeatureStream(model.statistics).accept(samples)
    return np.concatenate([network.accept(block), network.finish()])


def test_words_of_real_telephone_speech_are_mostly_right() -> None:
    """11.0 % when this was written (273 words); a change that costs eight words or more shows here."""
    result = measure("golden", read_test_set(SET), Callwarden())
    assert result.unreadable == 0
    assert result.errors.words == 273
    assert result.errors.rate < 0.139


def test_silence_and_noise_have_no_words() -> None:
    system = Callwarden()
    noise = np.random.default_rng(1).normal(0, 1e-3, 5 * TELEPHONE_RATE).astype(np.float32)
    assert system.recognise(np.zeros(5 * TELEPHONE_RATE, np.float32)) == ""
    assert len(system.recognise(noise).split()) <= 1


def test_aligned_words_tile_the_speech_and_right_words_are_surer(pack: ModelPack) -> None:
    recording = read_test_set(SET)[0]
    samples = read_audio(recording.audio)
    scores = scores_of(pack, samples)
    search = BeamSearch(pack.graph)
    search.advance(scores)
    found = search.finish()
    aligned = pack.aligner.align(found.word_ids, scores)
    assert aligned is not None
    assert aligned[0].start_frame >= 0
    assert aligned[-1].end_frame <= len(scores)
    for word, following in pairwise(aligned):
        assert word.start_frame < word.end_frame <= following.start_frame
    # Words lie where the sound is: the frames between them are quieter than the words' own.
    inside = np.zeros(len(samples), np.bool_)
    for word in aligned:
        inside[word.start_frame * 240 : word.end_frame * 240] = True
    assert np.sqrt((samples[inside] ** 2).mean()) > 3 * np.sqrt((samples[~inside] ** 2).mean())


def as_transducer(graph: Graph) -> FlatFst:
    source = np.repeat(np.arange(graph.state_count), np.diff(graph.states["first"]))
    arcs = graph.arcs
    return FlatFst(
        source, arcs["next"].astype(np.int64), arcs["pdf"].astype(np.int64) + 1, arcs["word"].astype(np.int64),
        arcs["weight"].copy(), graph.states["final"][:-1].copy(), graph.start,
    )  # fmt: skip


@pytest.mark.slow
def test_finds_what_kaldis_decoder_finds(pack: ModelPack) -> None:
    kaldi_decoder = pytest.importorskip("kaldi_decoder")
    kaldifst = pytest.importorskip("kaldifst")
    # Held in names: the decoder keeps pointers to both, but no references.
    graph = kaldifst.StdConstFst(as_transducer(pack.graph).to_kaldifst())
    options = kaldi_decoder.FasterDecoderOptions(beam=14.0, max_active=1 << 30)
    theirs = kaldi_decoder.FasterDecoder(graph, options)
    ours = BeamSearch(pack.graph, BeamSearchSettings(beam=14.0, max_active=1 << 30))
    for recording in read_test_set(SET)[:6]:
        scores = scores_of(pack, read_audio(recording.audio))
        decodable = kaldi_decoder.DecodableCtc(scores)
        theirs.decode(decodable)
        ok, best = theirs.get_best_path()
        assert ok
        _, _, words, weight = kaldifst.get_linear_symbol_sequence(best)
        ours.reset()
        ours.advance(scores)
        found = ours.finish()
        assert list(found.word_ids) == list(words)
        assert found.cost == pytest.approx(weight.value1 + weight.value2, abs=0.05)
