"""The recogniser stage: from `call.audio` to `transcript.raw`, many calls at once in one thread.

Per call a front end turns blocks into chunks of its legs, per leg a session turns chunks into utterances. The chunks
of everything that one read of the log brought are recognised together: the network costs much less for many legs at a
time, and the more there is to do, the more comes with a read.

A worker may die at any moment: what it had told is in the log, the end of each leg's last utterance in the snapshots,
and the audio from there on (and some seconds before, for the features' mean) is delivered to its successor again, who
tells what is missing, and at worst the last utterances twice, with the same ids and words.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from dsp.front_end import AudioChunk, FrontEnd, FrontEndSettings
from events import metrics
from events.audio import AudioBlock, CallAudioEnded, LegAudioEnded
from events.clock import Clock, SystemClock
from events.consumer import Opened, Output
from events.errors import NeverRetry, RetryLater
from events.identity import CallId
from events.log import Delivery, Position, TopicPartition
from events.topics import CALL_AUDIO, TRANSCRIPT_RAW, Topic
from events.transcript import CallTranscriptEnded, SegmentStatus, TranscriptSegment
from recognizer.leg_recognition import LegRecognition, Told, recognise
from recognizer.quantised import WeightForm
from recognizer.recogniser import Recogniser
from recognizer.snapshot import WHOLE_CALL, LegState, SnapshotStore

_log = logging.getLogger(__name__)

_REMEMBERED_CALLS: Final = 20_000


@dataclass(frozen=True)
class RecogniserWorkerSettings:
    """How a worker tells and forgets.

    Attributes
    ----------
    front_end : FrontEndSettings
        By default no leg waits for another: nothing here needs both of them, and a leg that is a block behind would
        delay the other's words by up to that block.
    progress_every_ms : int
        How much call time lies between two progress records of a leg.
    partials_within_ms : int
        Audio older than this gets no partial utterances: nobody watches an import or a backlog live.
    silent_h : float
        A call of which nothing came for so long, while others went on, is given up.
    weights : str
        What the acoustic network computes with: ``float32``, ``int8``, or as the model pack has them.
    """

    front_end: FrontEndSettings = field(default_factory=lambda: FrontEndSettings(longest_wait_ms=0))
    progress_every_ms: int = 500
    partials_within_ms: int = 3000
    silent_h: float = 2.0
    weights: WeightForm = "int8"

    def __post_init__(self) -> None:
        if self.progress_every_ms <= 0 or self.partials_within_ms < 0 or self.silent_h <= 0:
            raise ValueError("A recogniser worker's times must be positive.")


@dataclass
class _Call:
    partition: TopicPartition
    front_end: FrontEnd
    saved: dict[int, LegState]
    last_ms: int
    legs: dict[int, LegRecognition] = field(default_factory=dict)
    heard: bool = False
    """Whether the front end was given a block."""
    ended: bool = False


class RecogniserWorker:
    """A `StageHandler`, see :mod:`events.consumer`.

    Parameters
    ----------
    recogniser : Recogniser
    snapshots : SnapshotStore
    settings : RecogniserWorkerSettings, optional
    clock : Clock, optional
    """

    name = "recogniser"
    topics: Sequence[Topic] = (CALL_AUDIO,)

    def __init__(
        self,
        recogniser: Recogniser,
        snapshots: SnapshotStore,
        settings: RecogniserWorkerSettings | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._recogniser = recogniser
        self._snapshots = snapshots
        self._settings = settings or RecogniserWorkerSettings()
        self._clock = clock or SystemClock()
        self._calls: dict[CallId, _Call] = {}
        self._members: dict[TopicPartition, set[CallId]] = {}
        self._done: OrderedDict[CallId, None] = OrderedDict()
        self._newest_ms: dict[TopicPartition, int] = {}
        self._waiting: dict[CallId, Delivery] = {}
        """Calls whose legs have something to recognise, and the newest record of each."""
        self._finals: list[int | None] = []
        """When the last word of each final segment was captured, told since the last `made_durable`."""

    def handle(self, opened: Opened) -> Iterable[Output]:
        """Take one record of `call.audio`; see :class:`events.consumer.StageHandler`."""
        record, delivery = opened.record, opened.delivery
        if not isinstance(record, AudioBlock | LegAudioEnded | CallAudioEnded):
            raise NeverRetry("The topic of call audio holds a record that is no audio.")
        call = self._call(record.call, delivery)
        if call is None or call.ended:
            return ()
        if isinstance(record, AudioBlock):
            self._block(record.call, call, record, delivery)
        elif isinstance(record, LegAudioEnded):
            self._leg_ended(record.call, call, record, delivery)
        else:
            return self._call_ended(call, record, delivery)
        return ()

    def after_batch(self) -> Iterable[Output]:
        """Recognise what the batch brought, all legs together."""
        waiting = [(name, self._calls[name], delivery) for name, delivery in self._waiting.items()]
        self._waiting.clear()
        return self._recognised(waiting)

    def made_durable(self) -> None:
        """Save where the legs stand, now that the log has what was told up to there."""
        now_ms = self._clock.now_ms()
        for captured_ms in self._finals:
            metrics.count(metrics.SEGMENTS)
            if captured_ms is not None:
                metrics.observe(metrics.SEGMENT_DELAY, max(0, now_ms - captured_ms) / 1000)
        self._finals.clear()
        unsaved = [
            (name, call, leg.state)
            for name, call in self._calls.items()
            for leg in call.legs.values()
            if leg.unsaved
        ]
        ended = [name for name, call in self._calls.items() if call.ended]
        states = [(name, state) for name, _, state in unsaved]
        states += [(name, LegState(WHOLE_CALL, ended=True)) for name in ended]
        if not states:
            return
        try:
            self._snapshots.put(states)
        except RetryLater as error:
            # The log's positions stay where the last snapshots need them; the next batch tries again.
            _log.warning("Stage %s waits: %s", self.name, error)
            return
        for _, call, state in unsaved:
            call.legs[state.leg].note_saved(state)
        for name in ended:
            self._forget(name)

    def unfinished(self, partition: TopicPartition) -> Position | None:
        """Return the first block of the partition that an unfinished utterance still needs."""
        newest_ms = self._newest_ms.get(partition, 0)
        offsets: list[int] = []
        for name in list(self._members.get(partition, ())):
            call = self._calls[name]
            if newest_ms - call.last_ms > self._settings.silent_h * 3_600_000:
                _log.warning("Call %s was given up: no audio and no end of it came for too long.", name)
                self._forget(name)
                continue
            needed = (leg.needed_offset() for leg in call.legs.values())
            offsets += [offset for offset in needed if offset is not None]
        return Position(partition, min(offsets)) if offsets else None

    def revoked(self, partitions: frozenset[TopicPartition]) -> None:
        """Forget the calls of these partitions; another worker goes on from the snapshots."""
        for partition in partitions:
            for name in self._members.pop(partition, ()):
                del self._calls[name]
                self._waiting.pop(name, None)
            self._newest_ms.pop(partition, None)

    def _call(self, name: CallId, delivery: Delivery) -> _Call | None:
        """Return the call's state, taken up from the snapshots if need be; None when it was finished before."""
        at_ms = delivery.event.at_ms
        self._newest_ms[delivery.partition] = max(self._newest_ms.get(delivery.partition, 0), at_ms)
        call = self._calls.get(name)
        if call is not None:
            call.last_ms = max(call.last_ms, at_ms)
            return call
        if name in self._done:
            return None
        saved = self._snapshots.of_call(name)
        if WHOLE_CALL in saved:
            self._note_done(name)
            return None
        call = _Call(delivery.partition, FrontEnd(self._settings.front_end), saved, at_ms)
        self._calls[name] = call
        self._members.setdefault(delivery.partition, set()).add(name)
        return call

    def _leg(self, name: CallId, call: _Call, number: int) -> LegRecognition:
        leg = call.legs.get(number)
        if leg is None:
            leg = LegRecognition(
                self._recogniser, name, number, call.saved.get(number), self._settings.progress_every_ms
            )
            call.legs[number] = leg
        return leg

    def _block(self, name: CallId, call: _Call, block: AudioBlock, delivery: Delivery) -> None:
        leg = self._leg(name, call, block.leg)
        if leg.ended:
            return
        chunks = call.front_end.push(block)
        call.heard = True
        leg.note_block(block, delivery)
        self._offer(name, call, chunks, delivery)

    def _leg_ended(self, name: CallId, call: _Call, record: LegAudioEnded, delivery: Delivery) -> None:
        leg = self._leg(name, call, record.leg)
        if leg.ended:
            return
        if record.sample_rate <= 0 or record.end_sample < 0:
            raise NeverRetry("The end of a leg's audio has a negative time or no sample rate.")
        leg.audio_ended(record)
        self._offer(name, call, call.front_end.end_leg(record), delivery)

    def _call_ended(self, call: _Call, record: CallAudioEnded, delivery: Delivery) -> list[Output]:
        self._offer(record.call, call, call.front_end.end_call() if call.heard else [], delivery)
        del self._waiting[record.call]
        outputs = self._recognised([(record.call, call, delivery)])
        numbers = sorted({*record.legs, *call.legs, *call.saved})
        for number in numbers:
            leg = self._leg(record.call, call, number)
            if not leg.ended:
                outputs += self._outputs(call, leg.finish(record.end_ms), None)
        outputs.append((TRANSCRIPT_RAW, CallTranscriptEnded(record.call, tuple(numbers), record.end_ms)))
        call.ended = True
        return outputs

    def _offer(self, name: CallId, call: _Call, chunks: list[AudioChunk], delivery: Delivery) -> None:
        for chunk in chunks:
            leg = self._leg(name, call, chunk.leg)
            if not leg.ended:
                leg.offer(chunk)
        self._waiting[name] = delivery

    def _recognised(self, calls: Sequence[tuple[CallId, _Call, Delivery]]) -> list[Output]:
        """Recognise what waits of these calls, and end the legs of which all was heard."""
        place = {leg: i for i, (_, call, _) in enumerate(calls) for leg in call.legs.values()}
        outputs: list[Output] = []
        for leg, told in recognise(self._recogniser, list(place)):
            _, call, delivery = calls[place[leg]]
            outputs += self._outputs(call, told, delivery)
        for leg, i in place.items():
            if leg.all_heard():
                outputs += self._outputs(calls[i][1], leg.finish(), calls[i][2])
        return outputs

    def _outputs(self, call: _Call, told: list[Told], delivery: Delivery | None) -> list[Output]:
        late = delivery is None or self._clock.now_ms() - delivery.event.at_ms > self._settings.partials_within_ms
        outputs: list[Output] = []
        for record in told:
            if isinstance(record, TranscriptSegment):
                if record.status is SegmentStatus.FINAL:
                    self._finals.append(call.legs[record.leg].spoken_at_ms(record.end_ms))
                elif late:
                    continue
            outputs.append((TRANSCRIPT_RAW, record))
        return outputs

    def _forget(self, name: CallId) -> None:
        call = self._calls.pop(name)
        self._waiting.pop(name, None)
        self._members[call.partition].discard(name)
        self._note_done(name)

    def _note_done(self, name: CallId) -> None:
        self._done[name] = None
        while len(self._done) > _REMEMBERED_CALLS:
            self._done.popitem(last=False)
