"""An alert from a finding."""

from __future__ import annotations

from events.finding import Alert, AlertDelivered, Finding
from events.identity import RecordId, record_id


def alert_of(finding: Finding, raised_at_ms: int) -> Alert:
    """Return the alert of a finding; its id is the same whenever the finding comes again."""
    return Alert(
        id=record_id(finding.call, "alert", finding.id.removeprefix(f"{finding.call}:finding:")),
        call=finding.call,
        finding=finding.id,
        rule=finding.rule,
        title=finding.rule_title,
        severity=finding.severity,
        at_ms=finding.at_ms,
        raised_at_ms=raised_at_ms,
        why=finding.why,
    )


def delivered(alert: Alert, channel: str, success: bool, attempts: int, at_ms: int, reason: str) -> AlertDelivered:
    """Return the record of how a delivery ended."""
    identity = RecordId(f"{alert.id}:delivered:{channel}")
    return AlertDelivered(identity, alert.id, alert.call, channel, success, attempts, at_ms, reason)
