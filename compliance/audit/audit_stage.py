"""The audit process: signs checkpoints, and publishes entries and checkpoints to the `audit` topic."""

from __future__ import annotations

import logging
import threading
from datetime import UTC, datetime
from typing import Final

from compliance.audit.audit_log import AuditFilter, AuditLog, AuditUnavailable
from compliance.audit.checkpoint import PublicKey, open_checkpoint
from compliance.audit.leaf import decode_leaf
from compliance.audit.silence import CLEAN_STOP, SUBJECT
from events.audit_entry import Action, AuditCheckpoint, AuditEntry, Outcome
from events.clock import Clock, SystemClock
from events.errors import RetryLater
from events.log import EventLog
from events.sealing import Sealer
from events.topics import AUDIT

_log: Final = logging.getLogger(__name__)
_BATCH: Final = 500
_TICK_S: Final = 0.5


class AuditStage:
    """One per engine.

    Publishing is at least once: positions are noted after the event log has the records, and a record published
    twice has the same id.
    """

    name: Final = "audit"

    def __init__(
        self, audit: AuditLog, key: PublicKey, events: EventLog, sealer: Sealer, clock: Clock | None = None
    ) -> None:
        self._audit = audit
        self._key = key
        self._events = events
        self._sealer = sealer
        self._clock = clock or SystemClock()

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set, then sign once more.

        Raises
        ------
        StopConsumer
            The log was changed behind our back; it is not signed any more.
        """
        self._audit.check()
        self._say(Action.ENGINE_STARTED, self._since_last())
        self._audit.add_checkpoint()
        while not stop.is_set():
            self.step()
            stop.wait(_TICK_S)
        self._say(Action.ENGINE_STOPPED, CLEAN_STOP)
        self._audit.add_checkpoint()
        self.publish()

    def step(self) -> None:
        """Sign when it is due, publish what is new; what cannot be done now is done at a later step."""
        try:
            if self._due():
                self._audit.add_checkpoint()
            self.publish()
        except (AuditUnavailable, RetryLater) as error:
            _log.warning("%s", error)

    def _due(self) -> bool:
        last = self._audit.last_checkpoint_at()
        if last is None:
            return True
        size, at_ms = last
        waited = self._clock.now_ms() - at_ms
        settings = self._audit.settings
        return waited >= settings.heartbeat_ms or (
            waited >= settings.checkpoint_every_ms and self._audit.size > size
        )

    def publish(self) -> int:
        """Append to the topic what has not been there yet; return how many records."""
        sent = 0
        first, size = self._audit.published("entry"), self._audit.size
        while first < size:
            upto = min(first + _BATCH, size)
            entries = [decode_leaf(leaf).entry for _, leaf in self._audit.leaves(first, upto)]
            self._events.append(AUDIT, [self._sealer.event(AUDIT, entry) for entry in entries])
            self._audit.set_published("entry", upto)
            sent, first = sent + len(entries), upto
        done = self._audit.published("checkpoint")
        notes = self._audit.checkpoint_notes(done)
        if notes:
            made = [open_checkpoint(note, self._key) for note in notes]
            records = [AuditCheckpoint(one.size, one.root.hex(), one.at_ms, one.note) for one in made]
            self._events.append(AUDIT, [self._sealer.event(AUDIT, record) for record in records])
            self._audit.set_published("checkpoint", done + len(notes))
            sent += len(notes)
        return sent

    def _since_last(self) -> str:
        last = self._audit.last_checkpoint_at()
        if last is None:
            return "First start of this log."
        # Others may have written in between (the command line does): only our own starts and stops count.
        clean = self._newest(Action.ENGINE_STOPPED) > self._newest(Action.ENGINE_STARTED)
        when = datetime.fromtimestamp(last[1] / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        how = "an orderly stop" if clean else "a stop that was not orderly"
        return f"Last signed {when}, before {how}."

    def _newest(self, action: Action) -> int:
        """Index of our newest entry of a kind, -1 when there is none."""
        found = self._audit.page(AuditFilter(action=action, subject=SUBJECT), None, 1)
        return found[0].index if found else -1

    def _say(self, action: Action, reason: str) -> None:
        now = self._clock.now_ms()
        identity = f"{SUBJECT}:{action.value}:{now}"
        self._audit.append(
            AuditEntry(identity, now, "audit", "stage", action, SUBJECT, Outcome.ALLOWED, reason, "audit")
        )
