"""Audit logs with made entries, for tests."""

from __future__ import annotations

from pathlib import Path

from compliance.audit.audit_log import AuditLog, AuditSettings
from compliance.audit.checkpoint import SigningKey
from events.audit_entry import Action, AuditEntry, Outcome
from events.clock import ManualClock


def made_entry(number: int, clock: ManualClock, **changes: object) -> AuditEntry:
    fields: dict[str, object] = {
        "id": f"entry-{number}",
        "at_ms": clock.now_ms(),
        "actor": ("olga", "omar")[number % 2],
        "actor_role": "officer",
        "action": (Action.SEARCH, Action.VIEW_CALL, Action.PLAY)[number % 3],
        "subject": "index",
        "outcome": Outcome.ALLOWED,
        "via": "console",
        "address": "127.0.0.1",
        "sealed_detail": bytes([number % 256]) * 3,
    }
    return AuditEntry(**(fields | changes))  # type: ignore[arg-type]


class MadeLog:
    """A log of `entries` entries, a second apart, with a checkpoint after every `every`."""

    def __init__(self, folder: Path, entries: int = 0, every: int = 5, key: SigningKey | None = None) -> None:
        self.clock = ManualClock()
        self.key = key or SigningKey.generate()
        self.public = self.key.public
        self.log = AuditLog(folder, self.key, self.clock, AuditSettings())
        self.entries = 0
        self.grow(entries, every)

    def grow(self, entries: int, every: int = 5) -> None:
        for _ in range(entries):
            self.log.append(made_entry(self.entries, self.clock))
            self.entries += 1
            self.clock.advance(1_000)
            if self.entries % every == 0:
                self.log.add_checkpoint()
