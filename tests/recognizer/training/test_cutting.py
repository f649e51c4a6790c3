"""Long recordings cut at pauses by forced alignment."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from recognizer.forced_alignment import ForcedAligner
from recognizer.training.corpora.cutting import CuttingSettings, cut_recording
from recognizer.training.corpora.recording import LeftOut, Recording, TranscriptKind, read_samples
from tests.builders.demo_texts import demo_words
from tests.builders.small_recogniser import demo_audio


@pytest.fixture(scope="module")
def aligner() -> ForcedAligner:
    return ForcedAligner.of_pack()


@pytest.fixture
def whole(tmp_path: Path) -> Recording:
    samples = demo_audio("agent")[: 8000 * 18]
    path = tmp_path / "call.wav"
    soundfile.write(path, np.concatenate((np.zeros(8000, np.float32), samples)), 8000)
    words = tuple(demo_words("agent")[:27])
    return Recording(path, 0, 1.0, 19.0, words, "site-1-0", "site", "train", "", TranscriptKind.VERBATIM)


def test_pieces_hold_all_words_in_order_and_lie_within(aligner: ForcedAligner, whole: Recording) -> None:
    left_out = LeftOut()
    chosen = CuttingSettings(longest_s=8.0, least_score=-100)
    pieces = list(cut_recording(whole, aligner, left_out, chosen))
    assert len(pieces) > 1
    if not left_out.reasons:
        assert tuple(word for piece in pieces for word in piece.words) == whole.words
    assert all(piece.seconds <= 8.0 for piece in pieces)
    assert all(whole.start_s <= piece.start_s < piece.end_s <= whole.end_s for piece in pieces)
    assert all(a.end_s <= b.start_s + 1e-6 for a, b in itertools.pairwise(pieces))
    for piece in pieces:
        alone = aligner.align(piece.words, lambda piece=piece: [read_samples(piece)[0]])
        assert alone.words[0].start_ms < 600, "a piece begins with its words"


def test_short_recordings_stay_whole(aligner: ForcedAligner, whole: Recording) -> None:
    assert list(cut_recording(whole, aligner, LeftOut(), CuttingSettings(longest_s=18.5))) == [whole]


def test_what_does_not_fit_is_counted(aligner: ForcedAligner, whole: Recording) -> None:
    left_out = LeftOut()
    chosen = CuttingSettings(longest_s=8.0)
    too_much = replace(whole, words=whole.words * 40)
    unknown = replace(whole, words=("xqzzt",))
    gone = replace(whole, path=whole.path.with_name("gone.wav"))
    strict = CuttingSettings(longest_s=8.0, least_score=-0.001)
    for recording, settings in ((too_much, chosen), (unknown, chosen), (gone, chosen), (whole, strict)):
        assert list(cut_recording(recording, aligner, left_out, settings)) == []
    assert left_out.reasons["a text that does not fit its recording"] == 2
    assert left_out.reasons["unreadable audio"] == 1
    assert left_out.reasons["a stretch whose text does not fit"] >= 1
