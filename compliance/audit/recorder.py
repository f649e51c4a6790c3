"""How the rest of the engine records an access: one call that is over when the entry is durable."""

from __future__ import annotations

import secrets
from typing import Final

from compliance.audit.audit_log import AuditLog, AuditUnavailable
from compliance.audit.leaf import LoggedEntry
from events.audit_entry import Action, AuditEntry, Outcome
from events.clock import Clock, SystemClock
from events.metrics import AUDIT_REFUSED, count
from events.sealing import seal, unseal

_MOST_CHARACTERS: Final = 1_000


class AuditRecorder:
    """Makes entries, seals their detail, appends them.

    Parameters
    ----------
    site_key
        32 bytes that seal what may be personal data in an entry: ``KeyStore.site_key("audit")``.
    via
        ``console``, ``cli`` or the stage that acts.
    """

    def __init__(self, log: AuditLog, site_key: bytes, via: str, clock: Clock | None = None) -> None:
        self._log = log
        self._key = site_key
        self._via = via
        self._clock = clock or SystemClock()

    def record(
        self,
        actor: str,
        role: str,
        action: Action,
        subject: str,
        outcome: Outcome = Outcome.ALLOWED,
        *,
        detail: str | None = None,
        reason: str = "",
        address: str = "",
        entry_id: str | None = None,
        at_ms: int | None = None,
    ) -> int:
        """Record durably and return the entry's index.

        Parameters
        ----------
        detail
            Search words and the like; sealed under the audit key.
        entry_id, at_ms
            For callers that may deliver twice: the same id (and time) records once. Others leave them out.

        Raises
        ------
        AuditUnavailable
            Nothing was recorded, so the caller must refuse the access.
        """
        identity = entry_id or secrets.token_hex(16)
        entry = AuditEntry(
            id=identity,
            at_ms=self._clock.now_ms() if at_ms is None else at_ms,
            actor=_clean(actor),
            actor_role=_clean(role),
            action=action,
            subject=_clean(subject),
            outcome=outcome,
            reason=_clean(reason),
            via=self._via,
            address=_clean(address),
            sealed_detail=b"" if detail is None else seal(self._key, _clean(detail).encode(), _bound_to(identity)),
        )
        try:
            return self._log.append(entry)
        except AuditUnavailable:
            count(AUDIT_REFUSED)
            raise

    def open_detail(self, logged: LoggedEntry) -> str:
        """Unseal an entry's detail. Raises SealBroken. Recording that it was opened is the caller's duty."""
        entry = logged.entry
        if not entry.sealed_detail:
            return ""
        return unseal(self._key, entry.sealed_detail, _bound_to(entry.id)).decode()


def _bound_to(entry_id: str) -> bytes:
    return f"{entry_id}|audit_detail".encode()


def _clean(text: str) -> str:
    """Bound the length, and replace lone surrogates, which UTF-8 does not have."""
    return text[:_MOST_CHARACTERS].encode("utf-8", "replace").decode()
