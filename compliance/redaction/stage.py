"""The redacting stage: `transcript.raw` in, `transcript.redacted` and `transcript.partial` out.

A call's state is rebuilt by replay: the position of the first record of every open call stays uncommitted
(`OpenCalls`), and a successor makes the same records with the same ids again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from compliance.finished_calls import EndingCalls, FinishedCalls
from compliance.redaction.finders import PiiFinder
from compliance.redaction.redactor import CallRedactor, is_partial
from compliance.redaction.settings import RedactionSettings
from events.clock import Clock, SystemClock
from events.consumer import OpenCalls, OpenCallsSettings, Opened, Output
from events.errors import NeverRetry
from events.identity import CallId
from events.log import Position, TopicPartition
from events.topics import TRANSCRIPT_PARTIAL, TRANSCRIPT_RAW, TRANSCRIPT_REDACTED, Topic
from events.transcript import CallTranscriptEnded, LegProgress, LegTranscriptEnded, TranscriptSegment


class RedactionStage:
    """A `StageHandler`. `make_finders` is called once, in the stage's own process: it imports what costs seconds."""

    name = "redaction"
    topics: Sequence[Topic] = (TRANSCRIPT_RAW,)

    def __init__(
        self,
        finished: FinishedCalls,
        settings: RedactionSettings | None = None,
        make_finders: Callable[[RedactionSettings], Sequence[PiiFinder]] | None = None,
        clock: Clock | None = None,
        open_calls: OpenCallsSettings | None = None,
    ) -> None:
        self._settings = settings or RedactionSettings()
        self._finders = (make_finders or all_finders)(self._settings)
        self._clock = clock or SystemClock()
        self._open = OpenCalls(open_calls)
        self._calls: dict[CallId, CallRedactor] = {}
        self._ending = EndingCalls(finished, self._open)

    def handle(self, opened: Opened) -> Iterable[Output]:
        record = opened.record
        if not isinstance(record, TranscriptSegment | LegProgress | LegTranscriptEnded | CallTranscriptEnded):
            raise NeverRetry("The raw transcript holds a record that is no part of a transcript.")
        redactor = self._calls.get(record.call)
        if redactor is None and record.call in self._ending:
            # The tail of a call that was done before a restart: without its beginning less of it would be hidden.
            return []
        if not self._open.note(opened.delivery):
            return []
        if redactor is None:
            redactor = self._calls[record.call] = CallRedactor(self._settings, self._finders)
        if isinstance(record, TranscriptSegment) and is_partial(record):
            if self._clock.now_ms() - opened.delivery.event.at_ms > self._settings.partial_stale_ms:
                return []
            partial = redactor.take_partial(record)
            return [] if partial is None else [(TRANSCRIPT_PARTIAL, partial)]
        outputs: list[Output] = [(TRANSCRIPT_REDACTED, made) for made in redactor.take(record)]
        if isinstance(record, CallTranscriptEnded):
            del self._calls[record.call]
            self._ending.add([record.call])
        return outputs

    def after_batch(self) -> Iterable[Output]:
        """Let go what still waits in calls whose end never came, and forget them."""
        expired = self._open.expired()
        lost = [self._calls.pop(call) for call in expired if call in self._calls]
        self._ending.add(expired)
        return [(TRANSCRIPT_REDACTED, made) for redactor in lost for made in redactor.flush()]

    def made_durable(self) -> None:
        self._ending.write_down()

    def unfinished(self, partition: TopicPartition) -> Position | None:
        return self._open.unfinished(partition)

    def revoked(self, partitions: frozenset[TopicPartition]) -> None:
        for call in self._open.revoked(partitions):
            self._calls.pop(call, None)
            self._ending.forget(call)


def all_finders(settings: RedactionSettings) -> list[PiiFinder]:
    """Return every finder of the house. Imports Presidio."""
    from compliance.redaction.finders import NumberFinder
    from compliance.redaction.names import NameFinder
    from compliance.redaction.presidio_finder import PresidioFinder
    from compliance.redaction.spelled import SpelledFinder

    return [NumberFinder(settings), SpelledFinder(settings), NameFinder(settings), PresidioFinder(settings)]
