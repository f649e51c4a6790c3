"""The archive stage: keeps a call's bleeped recording once its transcript has ended, then destroys the capture key.

The order of things, and why no call can lose its audio without having a recording:

1. A call is finished when its `CallStarted`, `CallAudioEnded` and the redaction stage's `CallTranscriptEnded` have
   come, in whatever order. Where no transcript ever ends, the call waits: nothing unbleeped is kept, no key is
   destroyed.
2. The recording is written, synced and put under its name; then `RecordingKept` is given back to the loop.
3. Only in `made_durable`, that is once `RecordingKept` is in the log, is the capture key destroyed (or the call
   marked as kept, where policy lets the key live on); only then does the stage let go of the call's positions.

A crash before 3 leaves the capture key alive and the positions where they were, so the call's records come again and 1
and 2 are done again: the file stays or is written anew, `RecordingKept` has the same id. A crash within or after 3
leaves a destroyed key (or a mark) behind, by which records that come again are known to be of a call that is done with.
So whenever the capture key is gone, `RecordingKept` is in the log and its file is on the disk.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Protocol

from compliance.recordings.bleep import Bleeper, hidden_ms
from compliance.recordings.call_audio import CallAudio, ScratchFolder
from compliance.recordings.kept_marks import KeptMarks
from compliance.recordings.render import Int16, PeakMeter, hidden_windows, leg_windows
from compliance.recordings.sealed_recording import Version, write_recording
from dsp.resample import TELEPHONE_RATE
from events.audio import AudioBlock, CallAudioEnded
from events.audit_entry import Action
from events.clock import Clock, SystemClock
from events.consumer import Opened, Output
from events.errors import CallwardenError, KeyDestroyed, NeverRetry, RetryLater, StopConsumer
from events.identity import CallId, RecordId, record_id
from events.lifecycle import CallStarted
from events.log import Position, TopicPartition
from events.metrics import RECORDINGS_KEPT, count
from events.recording import RecordingKept
from events.topics import CALL_AUDIO, CALL_LIFECYCLE, CALL_RECORDING, TRANSCRIPT_REDACTED, Key, Topic
from events.transcript import CallTranscriptEnded, PiiSpan, RedactedSegment

_log = logging.getLogger(__name__)

OnEvent = Callable[[Action, CallId], None]


class ArchiveKeys(Protocol):
    """What the archive asks of the key store."""

    def key(self, call: CallId, key: Key) -> bytes:
        """Return a data key. Raises KeyDestroyed, or NeverRetry for a call that is not known."""
        ...

    def destroy(self, call: CallId, key: Key) -> None:
        """Destroy a key for good; doing it again changes nothing."""
        ...


@dataclass(frozen=True, slots=True)
class ArchiveSettings:
    grace_s: float = 0.0
    """How long the capture key lives on after the recording was kept."""
    keep_unbleeped: bool = False
    """Keep a second, unbleeped recording, sealed under the capture key, which is then not destroyed here."""
    memory_kb_per_leg: int = 128
    """Audio of a live call beyond this lies sealed in a scratch file."""
    check_every_s: float = 15.0
    """How often calls are looked for whose keys have come due or were destroyed by others."""

    def __post_init__(self) -> None:
        if self.grace_s < 0 or self.memory_kb_per_leg < 1 or self.check_every_s <= 0:
            raise ValueError(
                "grace_s of the archive is not negative; memory_kb_per_leg and check_every_s are positive."
            )
        if self.keep_unbleeped and self.grace_s:
            raise ValueError("keep_unbleeped keeps the capture key, so that grace_s of the archive has to be 0.")


@dataclass(slots=True)
class _Call:
    since: float
    started: CallStarted | None = None
    audio: CallAudio | None = None
    audio_ended: CallAudioEnded | None = None
    spans: dict[RecordId, tuple[PiiSpan, ...]] = field(default_factory=dict)
    transcript_ended: bool = False
    written: bool = False
    """Done with, but for `made_durable`."""
    kept: bool = False
    """There is a recording."""
    told: bool = False

    @property
    def complete(self) -> bool:
        return self.started is not None and self.audio_ended is not None and self.transcript_ended


class ArchiveStage:
    """The stage that keeps recordings.

    Parameters
    ----------
    folder
        Where recordings are kept, one folder a month in which calls started (UTC).
    keys
        The key store.
    on_event
        Told `RECORDING_KEPT` and `CAPTURE_KEY_DESTROYED`, at least once each and before the latter is done, so that
        an audit entry cannot be missing. If it raises, the key is not destroyed.
    """

    name: str = "archive"
    topics: Sequence[Topic] = (CALL_AUDIO, TRANSCRIPT_REDACTED, CALL_LIFECYCLE)

    def __init__(
        self,
        folder: Path,
        keys: ArchiveKeys,
        settings: ArchiveSettings | None = None,
        bleeper: Bleeper | None = None,
        on_event: OnEvent | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._folder = folder
        self._keys = keys
        self._settings = settings or ArchiveSettings()
        self._bleeper = bleeper or Bleeper()
        self._on_event: Final[OnEvent] = on_event or (lambda action, call: None)
        self._clock = clock or SystemClock()
        self._scratch = ScratchFolder(folder / "scratch")
        self._marks = KeptMarks(folder / "kept")
        self._calls: dict[CallId, _Call] = {}
        self._pins: dict[TopicPartition, dict[CallId, int]] = {}
        self._check_due = self._clock.monotonic()

    def handle(self, opened: Opened) -> Iterable[Output]:
        """Take one record; give back `RecordingKept` when it was the call's last one."""
        record = opened.record
        if not isinstance(
            record, AudioBlock | CallAudioEnded | CallStarted | RedactedSegment | CallTranscriptEnded
        ):
            return ()
        state = self._calls.get(record.call)
        if state is None:
            if self._done_with(record.call):
                return ()
            state = self._calls[record.call] = _Call(self._clock.monotonic())
        if state.written:
            return ()
        self._pins.setdefault(opened.delivery.partition, {}).setdefault(record.call, opened.delivery.offset)
        match record:
            case AudioBlock():
                self._audio_of(record.call, state).add(record)
            case CallAudioEnded():
                state.audio_ended = record
            case CallStarted():
                state.started = record
            case RedactedSegment():
                # A segment that comes again in a later revision may hide more; what was hidden once stays hidden.
                state.spans[record.id] = tuple({*state.spans.get(record.id, ()), *record.spans})
            case CallTranscriptEnded():
                state.transcript_ended = True
        return self._keep(record.call, state) if state.complete else ()

    def after_batch(self) -> Iterable[Output]:
        """Destroy capture keys whose grace is over; let go of calls that were erased."""
        now = self._clock.monotonic()
        if now >= self._check_due:
            self._check_due = now + self._settings.check_every_s
            for call in list(self._marks.due(self._clock.now_ms())):
                self._destroy_capture_key(call)
                self._marks.remove(call)
            for call, state in list(self._calls.items()):
                if not state.written and now - state.since >= self._settings.check_every_s:
                    self._let_go_if_erased(call, state)
        return ()

    def made_durable(self) -> None:
        """Let go of the calls whose `RecordingKept` is in the log now."""
        for call, state in list(self._calls.items()):
            if not state.written:
                continue
            try:
                self._settle(call, state)
            except RetryLater as error:
                # The call stays pinned, and its key alive, until this works.
                _log.warning("Call %s cannot be finished now: %s", call, error)
            else:
                self._forget(call)

    def unfinished(self, partition: TopicPartition) -> Position | None:
        offsets = self._pins.get(partition)
        return Position(partition, min(offsets.values())) if offsets else None

    def revoked(self, partitions: frozenset[TopicPartition]) -> None:
        """Forget what came from these partitions; it comes again to whoever has them next."""
        for partition in partitions:
            for call in self._pins.pop(partition, {}):
                state = self._calls.get(call)
                if state is None or state.written:
                    continue
                if partition.topic == CALL_AUDIO.name:
                    if state.audio is not None:
                        state.audio.close()
                    state.audio, state.audio_ended = None, None
                elif partition.topic == CALL_LIFECYCLE.name:
                    state.started = None
                else:
                    state.spans, state.transcript_ended = {}, False
                if not any(call in pinned for pinned in self._pins.values()):
                    del self._calls[call]

    def close(self) -> None:
        """Remove the scratch files."""
        self._scratch.close()

    def _audio_of(self, call: CallId, state: _Call) -> CallAudio:
        if state.audio is None:
            memory_bytes = self._settings.memory_kb_per_leg * 1024
            state.audio = CallAudio(call, self._keys, self._scratch.path, memory_bytes)
        return state.audio

    def _done_with(self, call: CallId) -> bool:
        if call in self._marks:
            return True
        try:
            self._keys.key(call, Key.CAPTURE)
        except KeyDestroyed:
            return True
        return False

    def _keep(self, call: CallId, state: _Call) -> Iterable[Output]:
        try:
            kept = self._write(call, state)
        except KeyDestroyed:
            state.written = True  # Erased while it was live: nothing is kept, and the capture key goes too.
            return ()
        except (RetryLater, StopConsumer):
            raise
        except Exception as error:
            # The key stays, so that nothing is lost; the record that brought us here goes to the dead letters.
            self._forget(call)
            if isinstance(error, CallwardenError):
                raise
            _log.exception("The recording of call %s could not be made.", call)
            raise NeverRetry("The recording of a call could not be made; its capture key was kept.") from None
        state.written = state.kept = True
        count(RECORDINGS_KEPT)
        return ((CALL_RECORDING, kept),)

    def _write(self, call: CallId, state: _Call) -> RecordingKept:
        assert state.started is not None
        assert state.audio_ended is not None
        audio = self._audio_of(call, state)
        samples = audio.samples
        legs = tuple(sorted({*audio.legs, *state.audio_ended.legs})) if samples else ()
        spans = [span for of_segment in state.spans.values() for span in of_segment]
        ranges = {leg: self._bleeper.ranges(leg, spans) for leg in legs}
        meters = {leg: PeakMeter(leg, samples) for leg in legs}
        month = datetime.fromtimestamp(state.started.started_at_ms / 1000, UTC).strftime("%Y-%m")
        folder = self._folder / month
        sealed_sha256 = write_recording(
            folder / Version.BLEEPED.file_name(call),
            self._keys.key(call, Key.RECORD),
            call,
            Version.BLEEPED,
            samples,
            TELEPHONE_RATE,
            (
                (
                    leg,
                    hidden_windows(
                        leg_windows(audio.blocks(leg), samples), self._bleeper, ranges[leg], meters[leg]
                    ),
                )
                for leg in legs
            ),
        )
        if self._settings.keep_unbleeped:
            write_recording(
                folder / Version.UNBLEEPED.file_name(call),
                self._keys.key(call, Key.CAPTURE),
                call,
                Version.UNBLEEPED,
                samples,
                TELEPHONE_RATE,
                ((leg, _plain(leg_windows(audio.blocks(leg), samples))) for leg in legs),
            )
        return RecordingKept(
            id=record_id(call, "recording_kept"),
            call=call,
            duration_ms=samples * 1000 // TELEPHONE_RATE,
            sample_rate=TELEPHONE_RATE,
            legs=legs,
            bleeped_ms=hidden_ms(list(ranges.values()), samples),
            sealed_sha256=sealed_sha256,
            peaks=tuple(meter.peaks() for meter in meters.values()),
            kept_unbleeped=self._settings.keep_unbleeped,
        )

    def _settle(self, call: CallId, state: _Call) -> None:
        if state.kept and not state.told:
            self._on_event(Action.RECORDING_KEPT, call)
            state.told = True
        settings = self._settings
        if not state.kept or not (settings.keep_unbleeped or settings.grace_s):
            self._destroy_capture_key(call)
        elif settings.keep_unbleeped:
            self._marks.put(call, None)
        else:
            self._marks.put(call, self._clock.now_ms() + round(settings.grace_s * 1000))

    def _destroy_capture_key(self, call: CallId) -> None:
        try:
            self._on_event(Action.CAPTURE_KEY_DESTROYED, call)
            self._keys.destroy(call, Key.CAPTURE)
        except NeverRetry:
            _log.warning("The keys of call %s are not known any more.", call)

    def _let_go_if_erased(self, call: CallId, state: _Call) -> None:
        """A call whose keys others have destroyed never completes, because its records are skipped."""
        try:
            self._keys.key(call, Key.CAPTURE)
        except KeyDestroyed:
            self._forget(call)
            return
        try:
            self._keys.key(call, Key.RECORD)
        except KeyDestroyed:
            state.written = True

    def _forget(self, call: CallId) -> None:
        state = self._calls.pop(call, None)
        if state is not None and state.audio is not None:
            state.audio.close()
        for pinned in self._pins.values():
            pinned.pop(call, None)


def _plain(windows: Iterable[tuple[int, Int16]]) -> Iterator[Int16]:
    return (window for _, window in windows)
