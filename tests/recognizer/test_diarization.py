"""Two speakers in one channel: each part by itself, and all of it on voices of a synthesiser."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from recognizer.diarization.clustering import two_voices
from recognizer.diarization.diarizer import Diarizer
from recognizer.diarization.error_rate import DiarizationError, diarization_error
from recognizer.diarization.resegmentation import TurnSettings, voices_by_row
from recognizer.diarization.speaker_network import (
    MODEL_FILE,
    ROW_SAMPLES,
    TAPS,
    SpeakerNetwork,
    SpeakerNetworkError,
    spliced,
    stacked_features,
)
from recognizer.diarization.speech_activity import _smoothed
from recognizer.diarization.turns import Turn
from recognizer.evaluation.audio_file import read_audio
from recognizer.evaluation.telephone_channel import telephone_speech
from tests.builders.conversations import conversation, spoken_spans

Float32 = NDArray[np.float32]


# -- error rate


def test_a_perfect_answer_has_no_error_whatever_the_speakers_are_called() -> None:
    reference = [Turn(0, 0, 2), Turn(1, 2.5, 4), Turn(0, 3.5, 5)]
    swapped = [Turn(1 - turn.speaker, turn.start_s, turn.end_s) for turn in reference]
    error = diarization_error(reference, swapped, 6)
    assert error.rate == 0
    assert error.speech_s == pytest.approx(5.0)


def test_kinds_of_error() -> None:
    reference = [Turn(0, 0, 4), Turn(1, 4, 8)]
    found = [Turn(0, 0, 5), Turn(1, 5, 7), Turn(1, 8, 8.5)]
    error = diarization_error(reference, found, 10)
    assert error == pytest.approx(DiarizationError(8, 1, 0.5, 1)) or (
        error.missed_s == pytest.approx(1)
        and error.false_alarm_s == pytest.approx(0.5)
        and error.confusion_s == pytest.approx(1)
    )
    assert error.rate == pytest.approx(2.5 / 8)


def test_overlap_counts_twice_and_the_collar_forgives_bounds() -> None:
    reference = [Turn(0, 0, 4), Turn(1, 3, 6)]
    one = [Turn(0, 0, 3.5), Turn(1, 3.5, 6)]
    error = diarization_error(reference, one, 6)
    assert error.speech_s == pytest.approx(7)
    assert error.missed_s == pytest.approx(1)
    late = [Turn(0, 0.2, 4.2), Turn(1, 3.2, 6.2)]
    assert diarization_error(reference, late, 7).rate > 0.05
    assert diarization_error(reference, late, 7, collar_s=0.25).rate == 0


def test_nothing_found_is_all_missed() -> None:
    error = diarization_error([Turn(0, 1, 3)], [], 5)
    assert (error.missed_s, error.rate) == (pytest.approx(2), 1)
    assert diarization_error([], [], 5).rate == 0


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), st.floats(0, 9), st.floats(0.1, 3)), max_size=6))
def test_errors_are_between_nothing_and_all_speech_and_noise(turns: list[tuple[int, float, float]]) -> None:
    said = [Turn(who, start, start + length) for who, start, length in turns]
    assert diarization_error(said, said, 12).rate == 0
    error = diarization_error([Turn(0, 2, 5), Turn(1, 6, 9)], said, 12)
    assert 0 <= error.missed_s <= error.speech_s
    assert error.missed_s + error.confusion_s <= error.speech_s + 1e-6


# -- clustering and turns


def directions(rng: np.random.Generator, mean: Float32, count: int, spread: float) -> Float32:
    noisy = mean + spread * rng.standard_normal((count, mean.size))
    return (noisy / np.linalg.norm(noisy, axis=1, keepdims=True)).astype(np.float32)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.integers(5, 80), st.integers(5, 80))
def test_two_voices_are_found(seed: int, first: int, second: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = (directions(rng, np.zeros(16, np.float32), 1, 1.0)[0] for _ in range(2))
    if a @ b > 0.3:
        return
    embeddings = np.concatenate((directions(rng, a, first, 0.08), directions(rng, b, second, 0.08)))
    voices = two_voices(embeddings, np.ones(first + second, np.float32))
    whose = (embeddings @ voices.T).argmax(axis=1)
    assert len(set(whose[:first])) == len(set(whose[first:])) == 1
    assert whose[0] != whose[-1]


def test_a_cough_is_no_speaker() -> None:
    rng = np.random.default_rng(3)
    axes = np.eye(16, dtype=np.float32)
    groups = [
        directions(rng, axes[0] + 0.4 * axes[1], 100, 0.1),
        directions(rng, axes[1] + 0.4 * axes[0], 80, 0.1),
    ]
    cough = directions(rng, -axes[0] - axes[1], 2, 0.02)
    embeddings = np.concatenate([*groups, cough])
    voices = two_voices(embeddings, np.ones(len(embeddings), np.float32))
    whose = (embeddings @ voices.T).argmax(axis=1)[:180]
    assert np.mean(whose[:100] == whose[0]) > 0.95
    assert np.mean(whose[100:] == 1 - whose[0]) > 0.95


def exhaustive_voices(gain: NDArray[np.float64], change: NDArray[np.float64]) -> float:
    best = -np.inf
    for states in itertools.product((0, 1), repeat=len(gain)):
        total = sum((0.5 if state == 0 else -0.5) * gain[t] for t, state in enumerate(states))
        total -= sum(change[t] for t in range(1, len(gain)) if states[t] != states[t - 1])
        best = max(best, total)
    return best


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.floats(-1, 1), st.booleans()), min_size=1, max_size=10))
def test_turns_are_the_best_of_all(rows: list[tuple[float, bool]]) -> None:
    chosen = TurnSettings(sharpness=10, change_cost=1)
    likeness = np.array([(value, 0) for value, _ in rows], np.float32)
    speech = np.array([spoken for _, spoken in rows])
    found = voices_by_row(likeness, speech, 0.5, chosen)
    assert ((found == -1) == ~speech).all()
    gain = np.where(speech, 5.0 * likeness[:, 0].astype(np.float64), 0)
    change = np.where(speech, 1.0, 0.25)
    spoken = np.flatnonzero(speech)
    # Silence has whichever voice serves best: fill it in all ways and take the best that agrees with what was found.
    best = -np.inf
    for states in itertools.product((0, 1), repeat=len(gain)):
        if all(states[t] == found[t] for t in spoken):
            total = sum((0.5 if state == 0 else -0.5) * gain[t] for t, state in enumerate(states))
            total -= sum(change[t] for t in range(1, len(gain)) if states[t] != states[t - 1])
            best = max(best, total)
    assert best == pytest.approx(exhaustive_voices(gain, change), abs=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-5, 5), min_size=1, max_size=10), st.floats(0, 4))
def test_speech_activity_is_the_best_of_all(odds: list[float], cost: float) -> None:
    found = _smoothed(np.array(odds), cost)

    def total(states: tuple[bool, ...]) -> float:
        changes = sum(a != b for a, b in itertools.pairwise(states))
        return sum(value for value, spoken in zip(odds, states, strict=True) if spoken) - cost * changes

    best = max(total(states) for states in itertools.product((False, True), repeat=len(odds)))
    assert total(tuple(found.tolist())) == pytest.approx(best, abs=1e-9)


# -- the network


@pytest.fixture(scope="module")
def network() -> SpeakerNetwork:
    return SpeakerNetwork.load()


def test_the_network_is_small(network: SpeakerNetwork) -> None:
    assert MODEL_FILE.stat().st_size <= 1 << 20


def test_rows_are_those_of_the_whole_whatever_the_blocks(
    network: SpeakerNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(1)
    features = stacked_features((0.1 * rng.standard_normal(8000 * 4)).astype(np.float32))
    whole = network.rows(features)
    monkeypatch.setattr("recognizer.diarization.speaker_network._BLOCK_ROWS", 25)
    np.testing.assert_allclose(network.rows(features), whole, rtol=1e-4, atol=1e-4)
    assert len(whole) == len(features)


def test_embeddings_are_those_of_the_stretch_alone(
    network: SpeakerNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recognizer.diarization.speaker_network._BLOCK_STRETCHES", 3)
    monkeypatch.setattr("recognizer.diarization.speaker_network._BLOCK_ROWS", 30)
    rng = np.random.default_rng(2)
    rows = np.abs(rng.standard_normal((100, len(network.projection) // 2))).astype(np.float32)
    weights = (rng.random(100) < 0.7).astype(np.float32)
    first, last = np.array([0, 20, 50, 99]), np.array([100, 45, 50, 100])
    found = network.embeddings(rows, weights, first, last)
    for one, begin, end in zip(found, first, last, strict=True):
        spoken = rows[begin:end][weights[begin:end] > 0]
        if not len(spoken):
            assert not one.any()
            continue
        pooled = np.concatenate((spoken.mean(0), np.sqrt(spoken.var(0) + 1e-4)))
        direct = pooled @ network.projection + network.offset
        np.testing.assert_allclose(one, direct / np.linalg.norm(direct), atol=1e-3)
    np.testing.assert_allclose(network.voice(rows, weights), found[0], atol=1e-5)


def test_spliced_rows_repeat_the_ends() -> None:
    rows = np.arange(4, dtype=np.float32)[:, None]
    np.testing.assert_array_equal(spliced(rows, (-1, 0, 1)), [[0, 0, 1], [0, 1, 2], [1, 2, 3], [2, 3, 3]])
    assert sum(max(taps) for taps in TAPS) == 6


def test_loudness_does_not_matter() -> None:
    rng = np.random.default_rng(3)
    speech = (0.2 * rng.standard_normal(16000) * np.sin(np.arange(16000) / 900)).astype(np.float32)
    np.testing.assert_allclose(stacked_features(speech), stacked_features(speech / 4), atol=0.2)


@pytest.mark.parametrize("damage", ["missing", "cut", "other"])
def test_a_damaged_network_is_one_sentence(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "voices.npz"
    if damage == "cut":
        path.write_bytes(MODEL_FILE.read_bytes()[:1000])
    elif damage == "other":
        np.savez(path, mean=np.zeros(3))
    with pytest.raises(SpeakerNetworkError, match=r"^The network of voices could not be read"):
        SpeakerNetwork.load(path)


# -- all of it


def test_made_conversations_say_the_truth() -> None:
    rng = np.random.default_rng(4)
    tone = np.sin(np.arange(8000) / 3).astype(np.float32)
    pause = np.zeros(4000, np.float32)
    said = [np.concatenate((pause, 0.3 * tone, pause))]
    assert spoken_spans(said[0])[0] == pytest.approx((4000, 12000), abs=80)
    mixed, turns = conversation(said, said, rng, seconds=30)
    speaking = np.zeros(mixed.size, np.bool_)
    for turn in turns:
        speaking[round(turn.start_s * 8000) : round(turn.end_s * 8000)] = True
    assert {turn.speaker for turn in turns} == {0, 1}
    assert (np.abs(mixed[~speaking]) < 1e-3).all()


@pytest.fixture(scope="module")
def diarizer() -> Diarizer:
    return Diarizer.of_pack()


SENTENCES = (
    "thank you for calling the bank how may i help you today",
    "i would like to know the balance of my account please",
    "let me look that up for you one moment",
    "the last payment has not been made yet",
    "is there anything else that i can do for you",
)


def voice(folder: Path, name: str) -> list[Float32]:
    said = []
    for i, sentence in enumerate(SENTENCES):
        path = folder / f"{name}{i}.wav"
        subprocess.run(["flite", "-voice", name, "-t", sentence, "-o", str(path)], check=True)
        said.append(read_audio(path))
    return said


@pytest.mark.skipif(shutil.which("flite") is None, reason="flite is missing: apt-get install flite")
def test_two_synthetic_voices_are_told_apart(diarizer: Diarizer, tmp_path: Path) -> None:
    mixed, turns = conversation(
        voice(tmp_path, "rms"), voice(tmp_path, "slt"), np.random.default_rng(5), seconds=45, overlap_share=0
    )
    samples = telephone_speech(mixed)
    found = diarizer.turns(lambda: [samples[:100_000], samples[100_000:]])
    assert found[0].speaker == 0
    error = diarization_error(turns, found, mixed.size / 8000, collar_s=0.25)
    assert error.rate < 0.15, error
    soundfile.write(tmp_path / "call.wav", samples, 8000)
    from typer.testing import CliRunner

    from console.cli import app

    told = CliRunner().invoke(app, ["speakers", str(tmp_path / "call.wav"), "--format", "json"])
    assert told.exit_code == 0, told.output
    assert [turn["speaker"] for turn in json.loads(told.stdout)["turns"]] == ["AB"[turn.speaker] for turn in found]
    rttm = CliRunner().invoke(app, ["speakers", str(tmp_path / "call.wav"), "--format", "rttm"])
    assert len(rttm.stdout.splitlines()) == len(found)


def test_silence_and_a_word_have_no_second_speaker(diarizer: Diarizer) -> None:
    assert diarizer.turns(list) == []
    assert diarizer.turns(lambda: [np.zeros(80_000, np.float32)]) == []
    assert ROW_SAMPLES == 240
