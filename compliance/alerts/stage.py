"""Findings in, alerts and the outcomes of their deliveries out."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Final

from compliance.alerts.alert import alert_of
from compliance.alerts.dispatcher import Dispatcher
from compliance.alerts.outbox import Outbox, OutboxUnavailable
from events import metrics
from events.clock import Clock, SystemClock
from events.consumer import Opened, Output
from events.finding import AlertDelivered, Finding
from events.log import Position, TopicPartition
from events.topics import ALERT, FINDING, Topic

_LOG: Final = logging.getLogger(__name__)
_FORGET_EVERY_MS: Final = 3_600_000


class AlertStage:
    """See `events.consumer.StageHandler`.

    An alert goes to the topic, which is the console's channel, and into the outbox, from where each dispatcher
    delivers it in its own time. A finding that comes again gives the same alert again, and no second delivery.
    """

    name = "alerts"
    topics: Sequence[Topic] = (FINDING,)

    def __init__(self, outbox: Outbox, dispatchers: Sequence[Dispatcher] = (), clock: Clock | None = None) -> None:
        self._outbox = outbox
        self._dispatchers = tuple(dispatchers)
        self._clock = clock or SystemClock()
        self._reporting: list[AlertDelivered] = []
        """Outcomes that were handed to the loop, but are not known to be in the log."""
        self._forget_due_ms = 0
        for dispatcher in self._dispatchers:
            dispatcher.start()

    def handle(self, opened: Opened) -> Iterable[Output]:
        finding = opened.record
        if not isinstance(finding, Finding) or not finding.alert:
            return ()
        channels = [dispatcher.channel for dispatcher in self._dispatchers]
        alert, new = self._outbox.add(alert_of(finding, self._clock.now_ms()), channels)
        if new:
            metrics.count(metrics.ALERTS_RAISED, severity=alert.severity.value)
            for dispatcher in self._dispatchers:
                dispatcher.wake()
        return [(ALERT, alert)]

    def after_batch(self) -> Iterable[Output]:
        if not self._reporting:
            self._reporting = self._outbox.unreported()
            if self._reporting:
                return [(ALERT, outcome) for outcome in self._reporting]
        now_ms = self._clock.now_ms()
        if now_ms >= self._forget_due_ms:
            self._forget_due_ms = now_ms + _FORGET_EVERY_MS
            self._outbox.forget_old(now_ms)
        return ()

    def made_durable(self) -> None:
        if not self._reporting:
            return
        try:
            self._outbox.reported(self._reporting)
        except OutboxUnavailable as error:
            _LOG.warning("Outcomes of deliveries stay unreported: %s", error)
        else:
            self._reporting = []

    def unfinished(self, partition: TopicPartition) -> Position | None:
        return None

    def revoked(self, partitions: frozenset[TopicPartition]) -> None:
        """Nothing to do: what is owed lies in the outbox, which all members share."""

    def close(self) -> None:
        """Stop delivering; what is owed stays owed."""
        for dispatcher in self._dispatchers:
            dispatcher.close()
        self._outbox.close()
