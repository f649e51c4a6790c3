"""Mono recordings on their way in: the turns of their two speakers go into the log and meet the words there."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from console.speaker_turns_sink import Find, SpeakersSettings, SpeakerTurnsSink
from events.call_document import CallDocument
from events.codec import Record
from events.identity import CallId, Role, record_id
from events.lifecycle import CallEnded
from events.metrics import IMPORT_SPEAKERS, counted
from events.speaker_turns import SpeakerTurn, SpeakerTurns
from events.sqlite_log import SqliteLog
from events.topics import CALL_LIFECYCLE, TRANSCRIPT_REDACTED, Key
from events.transcript import RedactedSegment, SegmentStatus
from indexer.speaker_parts import parts_of
from indexer.sqlite_index import SqliteIndex
from indexer.worker import IndexerStage
from recognizer.diarization.diarizer import Diarizer
from recognizer.diarization.turns import Turn
from recognizer.evaluation.audio_file import read_audio
from recognizer.model_pack import ModelPack
from recognizer.recogniser import Recogniser
from recognizer.session import RecognitionSession
from telephony.recorded_source import ImportedCall, ImportStopped, import_recording
from telephony.sink import LogSink
from tests.builders.conversations import conversation
from tests.indexer.stage_rig import StageRig

GOLDEN = Path(__file__).parents[1] / "golden"
STEREO = GOLDEN / "audio" / "pcm16_stereo.wav"
TWO = (Turn(0, 0.25, 2.0), Turn(1, 2.0, 3.5))


@dataclass(frozen=True)
class Made:
    """A mono file of two voices, and who speaks when in it."""

    path: Path
    samples: NDArray[np.float32]
    turns: list[Turn]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    voices = [
        [read_audio(file) for file in sorted((GOLDEN / "speech").glob(f"{who}-*.wav"))[:4]]
        for who in ("1993", "2086")
    ]
    samples, turns = conversation(*voices, np.random.default_rng(3), seconds=22, overlap_share=0)
    path = tmp_path_factory.mktemp("recordings") / "mono.wav"
    soundfile.write(path, samples, 8000, subtype="ULAW")
    return Made(path, read_audio(path), turns)


@pytest.fixture(scope="module")
def diarizer() -> Diarizer:
    return Diarizer.of_pack()


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[StageRig]:
    rig = StageRig(tmp_path / "engine")
    yield rig
    rig.close()


Take = Callable[..., ImportedCall]


@pytest.fixture
def take(rig: StageRig) -> Iterator[Take]:
    """Import a file into the rig's log, as `callwarden import` does."""
    log = SqliteLog(rig.folder / "log")

    def take(
        path: Path, find: Find, settings: SpeakersSettings | None = None, stop_after: float | None = None
    ) -> ImportedCall:
        stop = threading.Event()

        def on_progress(share: float) -> None:
            if stop_after is not None and share >= stop_after:
                stop.set()

        sink = SpeakerTurnsSink(LogSink(log, rig.sealer, rig.keys), settings, find)
        return import_recording(path, sink, started_at_ms=1_000, stop=stop, on_progress=on_progress)

    yield take
    log.close()


def finds(*turns: Turn) -> Find:
    return lambda audio: turns


def indexed(rig: StageRig, call: CallId) -> CallDocument:
    """What an indexer that begins now makes of the log."""
    index = SqliteIndex(rig.folder / "index.sqlite")
    stage = IndexerStage(index, clock=rig.clock)
    rig.step_until(rig.start(stage), lambda: rig.lag(stage) == 0)
    document = index.get(call)
    index.close()
    rig.crash()
    assert document is not None
    return document


def told(rig: StageRig) -> list[SpeakerTurns]:
    return [record for record in rig.records(CALL_LIFECYCLE) if isinstance(record, SpeakerTurns)]


def silent(path: Path, seconds: float = 4.0) -> Path:
    soundfile.write(path, np.zeros(round(8000 * seconds), np.float32), 8000, subtype="PCM_16")
    return path


def recognised(call: CallId, samples: NDArray[np.float32]) -> list[Record]:
    session = RecognitionSession(Recogniser.of_pack(ModelPack.load()))
    said = [one for piece in np.split(samples, range(8000, samples.size, 8000)) for one in session.accept(piece)]
    records: list[Record] = []
    for one in said + session.finish():
        if one.status is SegmentStatus.FINAL and one.words:
            start_ms, end_ms = one.words[0].start_ms, one.words[-1].end_ms
            name = record_id(call, "segment", 0, one.first_sample)
            records.append(
                RedactedSegment(
                    name, call, 0, Role.MIXED, one.status, one.first_sample, start_ms, end_ms, tuple(one.words)
                )
            )
    return records


def test_words_of_a_mono_recording_get_their_speakers(
    made: Made, diarizer: Diarizer, rig: StageRig, take: Take
) -> None:
    imported = take(made.path, diarizer.turns)
    rig.append(TRANSCRIPT_REDACTED, recognised(imported.call, made.samples))
    document = indexed(rig, imported.call)
    right = words = 0
    for part in parts_of(document):
        for word in part.words:
            middle = (word.start_ms + word.end_ms) / 2000
            said_by = min(made.turns, key=lambda turn: max(turn.start_s - middle, middle - turn.end_s)).speaker
            right += part.speaker == said_by
            words += 1
    assert words > 30
    assert right / words > 0.9
    assert {part.name for part in parts_of(document)} == {"Speaker A", "Speaker B"}

    once_more = take(made.path, diarizer.turns)
    assert once_more.call == imported.call
    assert len(set(told(rig))) == 1
    again = indexed(rig, imported.call)
    assert (again.revision, again.speaker_turns) == (document.revision, document.speaker_turns)


def test_turns_come_before_the_end_so_that_no_ended_call_lacks_them(
    rig: StageRig, take: Take, tmp_path: Path
) -> None:
    imported = take(silent(tmp_path / "a.wav"), finds(*TWO))
    records = rig.records(CALL_LIFECYCLE)
    kinds = [type(record) for record in records]
    assert kinds.index(SpeakerTurns) < kinds.index(CallEnded)
    assert told(rig) == [SpeakerTurns(imported.call, 0, (SpeakerTurn(0, 250, 2000), SpeakerTurn(1, 2000, 3500)))]


def test_an_import_that_broke_off_gets_its_turns_when_it_is_made_up_for(
    rig: StageRig, take: Take, tmp_path: Path
) -> None:
    path = silent(tmp_path / "a.wav", 12)
    heard: list[int] = []

    def find(audio: Callable[[], Sequence[NDArray[np.float32]]]) -> Sequence[Turn]:
        heard.append(sum(block.size for block in audio()))
        return TWO

    with pytest.raises(ImportStopped):
        take(path, find, stop_after=0.3)
    assert told(rig) == []
    imported = take(path, find)
    assert heard == [12 * 8000]
    assert len(told(rig)) == 1
    assert len(indexed(rig, imported.call).speaker_turns) == 1


def test_a_call_that_was_processed_before_gets_nothing_more(rig: StageRig, take: Take, tmp_path: Path) -> None:
    path = silent(tmp_path / "a.wav")
    imported = take(path, finds(*TWO))
    before = indexed(rig, imported.call)
    rig.keys.destroy(imported.call, Key.CAPTURE)
    assert take(path, finds(*TWO)).known_before
    assert len(told(rig)) == 1
    assert indexed(rig, imported.call) == before


@pytest.mark.parametrize(
    ("turns", "outcome"), [((Turn(0, 0.5, 2.0), Turn(0, 2.5, 3.5)), "one_speaker"), ((), "no_speech")]
)
def test_one_voice_or_none_says_nothing(
    rig: StageRig, take: Take, tmp_path: Path, turns: tuple[Turn, ...], outcome: str
) -> None:
    before = counted(IMPORT_SPEAKERS, outcome=outcome)
    imported = take(silent(tmp_path / "a.wav"), finds(*turns))
    assert counted(IMPORT_SPEAKERS, outcome=outcome) == before + 1
    document = indexed(rig, imported.call)
    assert document.speaker_turns == ()
    assert document.ended_at_ms is not None


def test_silence_and_a_moment_have_nobody_to_tell_apart(
    rig: StageRig, take: Take, tmp_path: Path, diarizer: Diarizer
) -> None:
    for seconds in (0.001, 0.3, 5.0):
        imported = take(silent(tmp_path / f"{seconds}.wav", seconds), diarizer.turns)
        assert indexed(rig, imported.call).ended_at_ms is not None
    assert told(rig) == []


def test_a_failure_harms_no_import_and_is_one_sentence_without_what_was_heard(
    rig: StageRig, take: Take, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def find(audio: object) -> Sequence[Turn]:
        raise ValueError("four two four two")

    before = counted(IMPORT_SPEAKERS, outcome="failed")
    path = silent(tmp_path / "jane-doe-4155550100.wav")
    with caplog.at_level(logging.INFO):
        imported = take(path, find)
    assert indexed(rig, imported.call).ended_at_ms is not None
    assert caplog.messages == ["The speakers of an imported recording could not be told apart (ValueError)."]
    assert counted(IMPORT_SPEAKERS, outcome="failed") == before + 1


def test_it_can_be_switched_off_and_has_a_longest_recording(rig: StageRig, take: Take, tmp_path: Path) -> None:
    asked: list[object] = []

    def find(audio: object) -> Sequence[Turn]:
        asked.append(audio)
        return TWO

    take(silent(tmp_path / "a.wav"), find, SpeakersSettings(tell_apart=False))
    take(silent(tmp_path / "b.wav", 6.5), find, SpeakersSettings(longest_minutes=0.1))
    assert asked == []
    assert told(rig) == []
    with pytest.raises(ValueError, match="longest_minutes"):
        SpeakersSettings(longest_minutes=0)


def test_two_channels_are_left_alone(rig: StageRig, take: Take) -> None:
    def find(audio: object) -> Sequence[Turn]:
        raise AssertionError("Two channels were listened to.")

    imported = take(STEREO, find)
    assert imported.legs == 2
    assert not any(isinstance(record, SpeakerTurns) for record in rig.records(CALL_LIFECYCLE))
    document = indexed(rig, imported.call)
    assert [leg.role for leg in document.legs] == [Role.CUSTOMER, Role.AGENT]


def test_mono_after_stereo_is_listened_to_again(rig: StageRig, tmp_path: Path) -> None:
    """One sink takes all files of an import."""
    log = SqliteLog(rig.folder / "log")
    sink = SpeakerTurnsSink(LogSink(log, rig.sealer, rig.keys), None, finds(*TWO))
    calls = [import_recording(path, sink).call for path in (STEREO, silent(tmp_path / "a.wav"), STEREO)]
    log.close()
    assert [turns.call for turns in told(rig)] == [calls[1]]
