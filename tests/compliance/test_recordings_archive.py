"""The archive stage on a real event log and key store, stepped by hand, killed wherever it may be killed."""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compliance.recordings import sealed_recording
from compliance.recordings.archive import ArchiveSettings, ArchiveStage
from compliance.recordings.bleep import Bleeper, BleepSettings
from compliance.recordings.reader import OpenedRecording, RecordingMissing, RecordingReader
from compliance.recordings.sealed_recording import Version
from dsp import g711
from dsp.resample import resample
from events.audio import AudioBlock, CallAudioEnded, Encoding, Gap, GapCause, LegAudioEnded
from events.audit_entry import Action
from events.clock import ManualClock
from events.codec import Record
from events.consumer import ConsumerSettings, Opened, StageLoop
from events.errors import KeyDestroyed, LogUnavailable, NeverRetry
from events.identity import CallId, RecordId, Role
from events.key_store import KeyStore, MasterKey
from events.lifecycle import CallEnded, CallSourceKind, CallStarted, EndReason
from events.log import Delivery, Event, Group, Position, TopicPartition
from events.recording import RecordingKept
from events.sealing import Sealer
from events.sqlite_log import SqliteLog
from events.topics import CALL_AUDIO, CALL_LIFECYCLE, CALL_RECORDING, TRANSCRIPT_REDACTED, Key, Topic
from events.transcript import (
    CallTranscriptEnded,
    LegProgress,
    PiiKind,
    PiiSpan,
    RedactedSegment,
    SegmentStatus,
    Word,
)

CALL = CallId("c" * 32)
STARTED_MS = 1_717_200_000_000  # 2024-06-01
FAR_START_MS = 1500


class Killed(BaseException):
    """kill -9, as far as it can be had within one process: nothing of the stage runs after it."""


class KillSwitch:
    """Counts the places where the stage may die, each just before it does something lasting, and dies at one."""

    def __init__(self, at: int | None = None) -> None:
        self.at = at
        self.passed = 0

    def __call__(self) -> None:
        self.passed += 1
        if self.passed == self.at:
            raise Killed


class MortalLog(SqliteLog):
    switch: KillSwitch

    def append(self, topic: Topic, events: Sequence[Event]) -> None:
        self.switch()
        super().append(topic, events)

    def commit(self, group: Group, position: Position) -> None:
        self.switch()
        super().commit(group, position)


class MortalKeys(KeyStore):
    switch: KillSwitch

    def destroy(self, call: CallId, key: Key) -> None:
        self.switch()
        super().destroy(call, key)


RIGS: list[Rig] = []


@pytest.fixture(autouse=True)
def _close_rigs() -> Iterator[None]:
    yield
    while RIGS:
        RIGS.pop().close()


class Rig:
    """An event log with the records of calls, and as many lives of the archive stage as a test wants."""

    def __init__(self, folder: Path, **archive: Any) -> None:
        self.folder = folder
        self.archive = archive
        self.clock = ManualClock()
        self.keys = KeyStore(folder / "keys", MasterKey(bytes(32)), clock=self.clock)
        self.sealer = Sealer(self.keys, self.clock)
        self.log = SqliteLog(folder / "log")
        self.events: list[tuple[Action, CallId]] = []
        self.stage: ArchiveStage | None = None
        self._life: tuple[SqliteLog, KeyStore] | None = None
        RIGS.append(self)

    def put(self, topic: Topic, *records: Record) -> None:
        for record in records:
            self.keys.create(record.call)  # type: ignore[union-attr]
        self.log.append(topic, [self.sealer.event(topic, record) for record in records])

    def start(self, switch: KillSwitch | None = None, most_records: int = 256) -> StageLoop:
        # Every life has its own log and key store, as every process has: what one cached another does not know.
        log = MortalLog(self.folder / "log")
        keys = MortalKeys(self.folder / "keys", MasterKey(bytes(32)), clock=self.clock)
        log.switch = keys.switch = switch or KillSwitch()
        self._life = (log, keys)
        self.stage = ArchiveStage(
            self.folder / "recordings",
            keys,
            bleeper=Bleeper(),
            on_event=lambda action, call: self.events.append((action, call)),
            clock=self.clock,
            **self.archive,
        )
        chosen = ConsumerSettings(most_records=most_records, wait_s=0.01)
        return StageLoop(log, Sealer(keys, self.clock), self.stage, Group("archive"), chosen, clock=self.clock)

    def crash(self) -> None:
        """What the death of a process leaves to others: its partitions. The stage gets no word of it."""
        if self._life is not None:
            for part in self._life:
                part.close()
            os.close(self.stage._scratch._lock)  # type: ignore[union-attr]
        self._life, self.stage = None, None

    def close(self) -> None:
        """Let go of everything; again does nothing."""
        self.crash()
        self.log.close()
        self.keys.close()

    def run(self, loop: StageLoop, steps: int = 8) -> None:
        for _ in range(steps):
            loop.step()
            self.clock.advance(1000)

    def kept(self) -> list[RecordingKept]:
        reader = SqliteLog(self.folder / "log")
        found = reader.read([CALL_RECORDING], Group(f"test-{random.random()}"), 1000, 0.0)
        reader.close()
        records = [self.sealer.record(CALL_RECORDING, delivery.event) for delivery in found]
        return [record for record in records if isinstance(record, RecordingKept)]

    def lag(self) -> int:
        return sum(self.log.lag(Group("archive"), ArchiveStage.topics).values())

    def has_capture_key(self, call: CallId = CALL) -> bool:
        keys = KeyStore(self.folder / "keys", MasterKey(bytes(32)))
        try:
            return keys.destroyed_at_ms(call, Key.CAPTURE) is None
        finally:
            keys.close()

    def open(self, call: CallId = CALL, version: Version = Version.BLEEPED) -> OpenedRecording:
        return RecordingReader(self.folder / "recordings", self.keys).open(call, version)

    def sound(self, call: CallId = CALL, version: Version = Version.BLEEPED) -> np.ndarray:
        with self.open(call, version) as recording:
            content = recording.read(44, recording.wav_length)
            return np.frombuffer(content, "<i2").reshape(-1, max(1, len(recording.legs))).T


NEAR = np.random.default_rng(1).integers(0, 256, 8 * 10_000, dtype=np.uint8)
FAR = (8000 * np.sin(np.arange(16 * 6000) * 2 * np.pi * 500 / 16000)).astype("<i2")
LOST = Gap(8 * 4000, 800, GapCause.LOST)


def near_blocks(call: CallId = CALL) -> list[AudioBlock]:
    blocks = []
    for first in range(0, NEAR.size, 800):
        gaps = (LOST,) if first == LOST.start_sample else ()
        payload = b"" if gaps else NEAR[first : first + 800].tobytes()
        blocks.append(AudioBlock(call, 0, Role.CUSTOMER, Encoding.PCMU, 8000, first, 800, payload, gaps))
    return blocks


def far_blocks(call: CallId = CALL) -> list[AudioBlock]:
    start = 16 * FAR_START_MS
    return [
        AudioBlock(
            call, 1, Role.AGENT, Encoding.L16, 16000, start + first, 1600, FAR[first : first + 1600].tobytes()
        )
        for first in range(0, FAR.size, 1600)
    ]


def audio(call: CallId = CALL) -> list[Record]:
    pairs = itertools.zip_longest(near_blocks(call), far_blocks(call))
    return [
        *(block for pair in pairs for block in pair if block is not None),
        LegAudioEnded(call, 0, Role.CUSTOMER, 8000, NEAR.size),
        LegAudioEnded(call, 1, Role.AGENT, 16000, 16 * FAR_START_MS + FAR.size),
        CallAudioEnded(call, (0, 1), 10_000),
    ]


def transcript(call: CallId = CALL) -> list[Record]:
    span = PiiSpan(PiiKind.CARD_NUMBER, 0, 2000, 3000, 0.9, "test")
    words = (Word("[CARD_NUMBER]", 2000, 3000, 0.9),)
    return [
        LegProgress(call, 0, Role.CUSTOMER, 1500),
        RedactedSegment(
            RecordId(f"{call}:s"), call, 0, Role.CUSTOMER, SegmentStatus.FINAL, 0, 1800, 3100, words, (span,)
        ),
        CallTranscriptEnded(call, (0, 1), 10_000),
    ]


def lifecycle(call: CallId = CALL) -> list[Record]:
    return [
        CallStarted(call, STARTED_MS, CallSourceKind.SIPREC),
        CallEnded(call, STARTED_MS + 10_000, 10_000, EndReason.HUNG_UP),
    ]


def put_call(rig: Rig, call: CallId = CALL) -> None:
    rig.put(CALL_LIFECYCLE, *lifecycle(call))
    rig.put(CALL_AUDIO, *audio(call))
    rig.put(TRANSCRIPT_REDACTED, *transcript(call))


def wanted_near() -> np.ndarray:
    sound = g711.decode_mu_law(NEAR)
    sound[LOST.start_sample : LOST.start_sample + LOST.samples] = 0
    return sound


def check_kept(rig: Rig) -> None:
    """The call is kept as it should be, once, and its capture key is gone."""
    kept = rig.kept()
    assert {record.id for record in kept} == {RecordId(f"{CALL}:recording_kept")}
    assert len({record.sealed_sha256 for record in kept}) == 1
    assert not rig.has_capture_key()
    near, far = rig.sound()
    hidden = slice((2000 - 120) * 8, (3000 + 160) * 8)
    outside = np.ones(near.size, bool)
    outside[hidden] = False
    np.testing.assert_array_equal(near[outside], wanted_near()[outside])
    core = near[2000 * 8 : 3000 * 8].astype(float)
    assert np.argmax(np.abs(np.fft.rfft(core))) == 1000
    assert np.abs(core).max() < 2000
    start = 8 * FAR_START_MS
    wanted = np.rint(resample(FAR.astype(np.float32) / np.float32(32768), 16000) * 32768)
    np.testing.assert_array_equal(far[start : start + 8 * 6000], wanted)
    assert not far[:start].any()
    assert not far[start + 8 * 6000 :].any()
    assert rig.lag() == 0


def test_a_call_is_kept_bleeped_on_one_timeline_and_its_capture_key_destroyed(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    put_call(rig)
    rig.run(rig.start())
    check_kept(rig)
    (kept,) = rig.kept()
    assert (kept.duration_ms, kept.sample_rate, kept.legs, kept.bleeped_ms) == (10_000, 8000, (0, 1), 1280)
    assert not kept.kept_unbleeped
    assert [(peaks.leg, peaks.bucket_ms, len(peaks.values)) for peaks in kept.peaks] == [
        (0, 50, 200),
        (1, 50, 200),
    ]
    assert set(kept.peaks[1].values[: FAR_START_MS // 50]) == {0}
    assert kept.peaks[1].values[100] == 8000 * 255 // 32767
    assert max(kept.peaks[0].values[40:60]) < 16
    assert (tmp_path / "recordings" / "2024-06" / f"{CALL}.cwr").exists()
    assert rig.events == [(Action.RECORDING_KEPT, CALL), (Action.CAPTURE_KEY_DESTROYED, CALL)]


@pytest.mark.slow
@settings(deadline=None, max_examples=12)
@given(seed=st.integers(0, 2**32), most=st.integers(1, 60))
def test_the_order_between_topics_does_not_matter(
    seed: int, most: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    rig = Rig(tmp_path_factory.mktemp("order"))
    chance = random.Random(seed)
    loop = rig.start(most_records=most)
    waiting = [
        (CALL_LIFECYCLE, lifecycle()),
        (CALL_AUDIO, audio()),
        (TRANSCRIPT_REDACTED, transcript()),
    ]
    while waiting:
        place = chance.randrange(len(waiting))
        topic, records = waiting[place]
        size = chance.randint(1, 80)
        rig.put(topic, *records[:size])
        del records[:size]
        if not records:
            del waiting[place]
        if chance.random() < 0.5:
            loop.step()
            assert rig.has_capture_key() or not waiting
    rig.run(loop, 260 // most + 4)
    check_kept(rig)
    rig.close()


@pytest.mark.parametrize("missing", [CALL_LIFECYCLE, CALL_AUDIO, TRANSCRIPT_REDACTED])
def test_nothing_is_kept_and_no_key_destroyed_before_everything_has_come(missing: Topic, tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    parts = {CALL_LIFECYCLE: lifecycle(), CALL_AUDIO: audio(), TRANSCRIPT_REDACTED: transcript()}
    for topic, records in parts.items():
        # A transcript or audio without its last record has not ended; a lifecycle's first record is its start.
        arrived = records if topic is not missing else records[1:] if topic is CALL_LIFECYCLE else records[:-1]
        rig.put(topic, *arrived)
    loop = rig.start()
    rig.run(loop, 30)
    assert rig.kept() == []
    assert rig.has_capture_key()
    assert list((tmp_path / "recordings").glob("*/*.cwr")) == []
    assert rig.lag() > 0
    rig.put(missing, *parts[missing])
    rig.run(loop)
    check_kept(rig)


def killed_at(rig: Rig, step: int, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Run a stage that dies at its `step`-th chance; tell whether it died."""
    switch = KillSwitch(step)
    real_replace, real_fsync = sealed_recording.os.replace, sealed_recording.os.fsync

    def mortal_replace(source: Path, target: Path) -> None:
        switch()
        real_replace(source, target)

    def mortal_fsync(descriptor: int) -> None:
        switch()
        real_fsync(descriptor)

    # A dying `write_recording` must not tidy up either.
    loop = rig.start(switch)
    with monkeypatch.context() as patch:
        patch.setattr(sealed_recording.os, "replace", mortal_replace)
        patch.setattr(sealed_recording.os, "fsync", mortal_fsync)
        try:
            rig.run(loop, 4)
        except Killed:
            return True
        finally:
            rig.crash()
    return False


@pytest.mark.slow
def test_killed_at_any_step_no_call_loses_its_recording_and_no_capture_key_survives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for step in itertools.count(1):
        rig = Rig(tmp_path / str(step))
        put_call(rig)
        died = killed_at(rig, step, monkeypatch)
        if not rig.has_capture_key():
            assert len(rig.kept()) == 1
            assert rig.sound().shape == (2, 80_000)
        if died:
            killed_at(rig, 1 + step % 5, monkeypatch)
        rig.run(rig.start())
        check_kept(rig)
        assert set(rig.events) == {(Action.RECORDING_KEPT, CALL), (Action.CAPTURE_KEY_DESTROYED, CALL)}
        rig.close()
        if not died:
            assert step > 8
            break


@pytest.mark.slow
@pytest.mark.parametrize("policy", [ArchiveSettings(grace_s=3600), ArchiveSettings(keep_unbleeped=True)])
def test_killed_at_any_step_where_policy_lets_the_capture_key_live(
    policy: ArchiveSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for step in itertools.count(1):
        rig = Rig(tmp_path / str(step), settings=policy)
        put_call(rig)
        died = killed_at(rig, step, monkeypatch)
        rig.run(rig.start(), 4)
        assert {record.id for record in rig.kept()} == {RecordId(f"{CALL}:recording_kept")}
        assert rig.has_capture_key()
        assert rig.lag() == 0
        rig.close()
        if not died:
            break


def test_the_capture_key_lives_on_for_its_grace(tmp_path: Path) -> None:
    rig = Rig(tmp_path, settings=ArchiveSettings(grace_s=3600))
    put_call(rig)
    rig.run(rig.start())
    assert rig.has_capture_key()
    rig.crash()
    rig.clock.advance(3500 * 1000)
    loop = rig.start()
    rig.run(loop, 2)
    assert rig.has_capture_key()
    rig.clock.advance(100 * 1000)
    rig.run(loop, 2)
    check_kept(rig)
    assert rig.events == [(Action.RECORDING_KEPT, CALL), (Action.CAPTURE_KEY_DESTROYED, CALL)]
    assert list((tmp_path / "recordings" / "kept").iterdir()) == []


def test_policy_may_keep_the_unbleeped_recording_under_the_capture_key(tmp_path: Path) -> None:
    rig = Rig(tmp_path, settings=ArchiveSettings(keep_unbleeped=True))
    put_call(rig)
    rig.run(rig.start())
    (kept,) = rig.kept()
    assert kept.kept_unbleeped
    np.testing.assert_array_equal(rig.sound(version=Version.UNBLEEPED)[0], wanted_near())
    assert not np.array_equal(rig.sound()[0], wanted_near())
    rig.keys.destroy(CALL, Key.CAPTURE)
    with pytest.raises(KeyDestroyed):
        rig.open(version=Version.UNBLEEPED)
    rig.open().close()


def test_long_calls_overflow_into_sealed_scratch_files(tmp_path: Path) -> None:
    rig = Rig(tmp_path, settings=ArchiveSettings(memory_kb_per_leg=4))
    rig.put(CALL_LIFECYCLE, *lifecycle())
    rig.put(CALL_AUDIO, *audio())
    loop = rig.start()
    rig.run(loop)
    (scratch,) = (tmp_path / "recordings" / "scratch").glob(f"*/{CALL}.scratch")
    content = scratch.read_bytes()
    assert len(content) > 100_000
    assert scratch.stat().st_mode & 0o777 == 0o600
    for block in (near_blocks()[1], far_blocks()[1]):
        assert block.payload[:32] not in content
    rig.put(TRANSCRIPT_REDACTED, *transcript())
    rig.run(loop)
    check_kept(rig)
    assert not scratch.exists()


def test_no_plain_audio_lies_on_the_disk(tmp_path: Path) -> None:
    rig = Rig(tmp_path, settings=ArchiveSettings(memory_kb_per_leg=4))
    put_call(rig)
    rig.run(rig.start())
    loud = wanted_near()[800:832].astype("<i2").tobytes()
    for path in tmp_path.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert loud not in content
            assert NEAR[800:832].tobytes() not in content


def test_scratch_files_of_the_dead_are_removed_and_of_the_living_are_not(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    root = tmp_path / "recordings" / "scratch"
    (root / "dead").mkdir(parents=True)
    (root / "dead" / "lock").touch()
    rig.start()
    alive = rig.stage
    assert alive is not None
    (folder,) = root.iterdir()
    rig.start()
    assert folder.exists()
    assert len(list(root.iterdir())) == 2
    alive.close()
    assert len(list(root.iterdir())) == 1


def test_a_full_disk_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(tmp_path)
    put_call(rig)
    loop = rig.start()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(sealed_recording.os, "fsync", full)
        rig.run(loop, 5)
    assert rig.kept() == []
    assert rig.has_capture_key()
    rig.run(loop)
    check_kept(rig)


def test_if_the_audit_cannot_be_written_the_key_lives_until_it_can(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    put_call(rig)
    loop = rig.start()
    assert rig.stage is not None
    told: Callable[[Action, CallId], None] = rig.stage._on_event

    def unable(action: Action, call: CallId) -> None:
        raise LogUnavailable("The audit log cannot be written now.")

    rig.stage._on_event = unable  # type: ignore[misc]
    rig.run(loop, 3)
    assert len(rig.kept()) == 1
    assert rig.has_capture_key()
    rig.stage._on_event = told  # type: ignore[misc]
    rig.run(loop, 2)
    check_kept(rig)


def test_a_call_erased_while_it_was_live_is_not_kept(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.put(CALL_LIFECYCLE, *lifecycle())
    rig.put(CALL_AUDIO, *audio())
    loop = rig.start()
    rig.run(loop, 3)
    rig.keys.destroy(CALL, Key.RECORD)
    rig.run(loop, 45)
    assert not rig.has_capture_key()
    assert rig.kept() == []
    with pytest.raises(RecordingMissing):
        rig.open()
    assert rig.lag() == 0


def test_a_broken_block_does_not_keep_the_call_or_others_from_being_kept(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    other = CallId("d" * 32)
    bad = AudioBlock(CALL, 0, Role.CUSTOMER, Encoding.PCMU, 12345, 0, 10, bytes(10))
    far_off = AudioBlock(CALL, 0, Role.CUSTOMER, Encoding.PCMU, 8000, 10**12, 10, bytes(10))
    rig.put(CALL_AUDIO, bad, far_off)
    put_call(rig)
    put_call(rig, other)
    rig.run(rig.start())
    assert {record.call for record in rig.kept()} == {CALL, other}
    np.testing.assert_array_equal(rig.sound()[0][:8000], wanted_near()[:8000])


def test_a_call_without_audio_has_an_empty_recording(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.put(CALL_LIFECYCLE, *lifecycle())
    rig.put(CALL_AUDIO, CallAudioEnded(CALL, (), 0))
    rig.put(TRANSCRIPT_REDACTED, CallTranscriptEnded(CALL, (), 0))
    rig.run(rig.start())
    (kept,) = rig.kept()
    assert (kept.duration_ms, kept.legs, kept.peaks) == (0, (), ())
    assert rig.open().wav_length == 44
    assert not rig.has_capture_key()


class Handing:
    """Hands records to a stage without a loop."""

    def __init__(self, stage: ArchiveStage) -> None:
        self.stage = stage
        self.offsets = dict.fromkeys((topic.name for topic in stage.topics), 0)

    def __call__(self, topic: Topic, records: Iterable[Record]) -> list[RecordingKept]:
        outputs = []
        for record in records:
            where = TopicPartition(topic.name, 0)
            delivery = Delivery(topic, where, self.offsets[topic.name], Event(RecordId("x"), CALL, "", 0, b""))
            self.offsets[topic.name] += 1
            outputs += [output for _, output in self.stage.handle(Opened(delivery, record))]
        return [output for output in outputs if isinstance(output, RecordingKept)]


def test_positions_are_held_from_the_calls_first_record_until_it_is_settled(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.keys.create(CALL)
    stage = ArchiveStage(tmp_path / "recordings", rig.keys, clock=rig.clock)
    hand = Handing(stage)
    hand.offsets[CALL_AUDIO.name] = 70
    hand(CALL_AUDIO, audio())
    hand(TRANSCRIPT_REDACTED, transcript())
    where = [TopicPartition(topic.name, 0) for topic in (CALL_AUDIO, TRANSCRIPT_REDACTED, CALL_LIFECYCLE)]
    assert [stage.unfinished(partition) for partition in where] == [
        Position(where[0], 70),
        Position(where[1], 1),
        None,
    ]
    assert len(hand(CALL_LIFECYCLE, lifecycle())) == 1
    assert stage.unfinished(where[0]) == Position(where[0], 70)
    stage.made_durable()
    assert [stage.unfinished(partition) for partition in where] == [None, None, None]
    assert hand(CALL_AUDIO, audio()) == hand(TRANSCRIPT_REDACTED, transcript()) == []
    assert stage.unfinished(where[0]) is None


def test_partitions_that_come_back_one_by_one_are_taken_up_again(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.keys.create(CALL)
    stage = ArchiveStage(tmp_path / "recordings", rig.keys, clock=rig.clock)
    hand = Handing(stage)
    hand(CALL_LIFECYCLE, lifecycle())
    hand(CALL_AUDIO, audio()[:-1])
    hand(TRANSCRIPT_REDACTED, transcript())
    for topic in stage.topics:
        stage.revoked(frozenset({TopicPartition(topic.name, 0)}))
        assert stage.unfinished(TopicPartition(topic.name, 0)) is None
        parts = {CALL_LIFECYCLE: lifecycle(), CALL_AUDIO: audio()[:-1], TRANSCRIPT_REDACTED: transcript()}
        assert hand(topic, parts[topic]) == []
    assert len(hand(CALL_AUDIO, audio()[-1:])) == 1
    stage.made_durable()
    np.testing.assert_array_equal(rig.sound()[0][:8000], wanted_near()[:8000])


def test_records_of_a_call_without_keys_are_poison(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    stage = ArchiveStage(tmp_path / "recordings", rig.keys, clock=rig.clock)
    with pytest.raises(NeverRetry, match="No keys of this call"):
        Handing(stage)(CALL_AUDIO, audio()[:1])


def test_settings_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ValueError, match="keep_unbleeped keeps the capture key"):
        ArchiveSettings(keep_unbleeped=True, grace_s=5)
    with pytest.raises(ValueError, match="join_ms"):
        BleepSettings(join_ms=-1)
