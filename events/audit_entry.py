"""Who did what, to what, why, and how it ended. Entries are hashed into the Merkle log of compliance/audit."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Action(StrEnum):
    LOG_IN = "log_in"
    LOG_OUT = "log_out"
    SEARCH = "search"
    VIEW_CALL = "view_call"
    VIEW_LIVE = "view_live"
    PLAY = "play"
    REVEAL = "reveal"
    EXPORT = "export"
    ACKNOWLEDGE_ALERT = "acknowledge_alert"
    READ_AUDIT = "read_audit"
    VERIFY_AUDIT = "verify_audit"
    EXPORT_AUDIT = "export_audit"
    USER_ADDED = "user_added"
    USER_CHANGED = "user_changed"
    IMPORT = "import"
    ENGINE_STARTED = "engine_started"
    ENGINE_STOPPED = "engine_stopped"
    RECORDING_KEPT = "recording_kept"
    CAPTURE_KEY_DESTROYED = "capture_key_destroyed"
    CALL_FORGOTTEN = "call_forgotten"
    REBUILD_INDEX = "rebuild_index"
    MODEL_CHANGED = "model_changed"
    VOCABULARY_CHANGED = "vocabulary_changed"
    ACCESS_DENIED = "access_denied"


class Outcome(StrEnum):
    ALLOWED = "allowed"
    DENIED = "denied"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One access or change.

    `sealed_detail` is AES-GCM under the audit key: search words and the like, which may be personal data.
    """

    id: str
    """Made by the caller once per access, so that delivering an entry twice records it once."""
    at_ms: int
    """UTC epoch milliseconds."""
    actor: str
    actor_role: str
    action: Action
    subject: str
    """What was accessed: a call id, an alert id, ``index`` for a search, a user name. Never transcript text."""
    outcome: Outcome
    reason: str = ""
    via: str = ""
    """``console``, ``cli`` or the stage that acted."""
    address: str = ""
    sealed_detail: bytes = b""


@dataclass(frozen=True, slots=True)
class AuditCheckpoint:
    """A signed tree head as published to the `audit` topic; `note` is the signed text (compliance/audit)."""

    size: int
    root_sha256: str
    at_ms: int
    note: str
