"""The judges of all open calls as a stage."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Final, cast

from compliance.finished_calls import EndingCalls, FinishedCalls
from compliance.rules.judge import Judge, RuleSet, RulesSettings
from compliance.rules.rule import Rulebook
from events import metrics
from events.consumer import OpenCalls, OpenCallsSettings, Opened, Output
from events.identity import CallId
from events.log import Position, TopicPartition
from events.topics import FINDING, TRANSCRIPT_REDACTED, Topic
from events.transcript import CallTranscriptEnded, RedactedTranscriptRecord

_LOG: Final = logging.getLogger(__name__)


class RulesStage:
    """See `events.consumer.StageHandler`.

    A judge's state is never written down: after a crash it is rebuilt by reading the call again from its first
    event, which gives the same findings with the same ids.
    """

    name = "rules"
    topics: Sequence[Topic] = (TRANSCRIPT_REDACTED,)

    def __init__(
        self,
        rulebooks: Sequence[Rulebook],
        finished: FinishedCalls,
        settings: RulesSettings | None = None,
        open_calls: OpenCallsSettings | None = None,
    ) -> None:
        self._rules = RuleSet(rulebooks)
        self._settings = settings or RulesSettings()
        self._open = OpenCalls(open_calls)
        self._judges: dict[CallId, Judge] = {}
        self._ending = EndingCalls(finished, self._open)

    def handle(self, opened: Opened) -> Iterable[Output]:
        call = CallId(opened.delivery.event.key)
        judge = self._judges.get(call)
        if judge is None:
            if call in self._ending:
                return ()
            judge = self._judges[call] = Judge(call, self._rules, self._settings)
        self._open.note(opened.delivery)
        findings = judge.take(cast(RedactedTranscriptRecord, opened.record))
        for finding in findings:
            metrics.count(metrics.FINDINGS, rule=finding.rule)
        if isinstance(opened.record, CallTranscriptEnded):
            del self._judges[call]
            self._ending.add([call])
        return [(FINDING, finding) for finding in findings]

    def after_batch(self) -> Iterable[Output]:
        for call in self._open.expired():
            if self._judges.pop(call, None) is not None:
                _LOG.warning("Call %s was open for too long; its rules are not judged any further.", call)
            self._ending.add([call])
        return ()

    def made_durable(self) -> None:
        self._ending.write_down()

    def unfinished(self, partition: TopicPartition) -> Position | None:
        return self._open.unfinished(partition)

    def revoked(self, partitions: frozenset[TopicPartition]) -> None:
        for call in self._open.revoked(partitions):
            self._judges.pop(call, None)
            self._ending.forget(call)
