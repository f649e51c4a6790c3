"""One call, for the officer: its picture, findings, transcript, recording, and its export."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

import msgspec
from starlette.responses import Response

from console.web.access import PageRefused, Visit
from console.web.render import iso
from console.web.transcript_view import names_in, turns_of, voices_of
from console.web.waveform import anchor_of, picture_of
from events.audit_entry import Action, Outcome
from events.call_document import CallDocument
from events.finding import Alert, AlertAnswered, Finding
from events.identity import parse_call_id
from indexer.speaker_parts import parts_of
from indexer.summary import WORST_FIRST

_NOTICE: Final = "Findings flag risk for a person to judge; they are not legal advice."


def the_call(visit: Visit, action: Action) -> CallDocument:
    """Return the call that the address names; a try at one that is not there is recorded too."""
    text = visit.request.path_params["call"]
    try:
        call = parse_call_id(text)
    except ValueError:
        raise PageRefused(404, "There is no such call.", "not_found") from None
    document = visit.services.index.get(call)
    if document is None:
        visit.record(action, call, Outcome.FAILED)
        raise PageRefused(404, "There is no such call, or it has been forgotten.", "not_found")
    return document


def call(visit: Visit) -> Response:
    document = the_call(visit, Action.VIEW_CALL)
    names = names_in(document)
    visit.record(Action.VIEW_CALL, document.call)
    return visit.page(
        "call.html",
        document=document,
        names=names,
        picture=picture_of(document, names),
        turns=turns_of(document, names, visit.services.settings.mask_profanity),
        voices=voices_of(document),
        findings=_shown_findings(document),
        hidden=sorted({span.kind.value for segment in document.segments for span in segment.spans}),
        metadata=[(name, value) for name, value in document.metadata if value],
    )


@dataclass(frozen=True, slots=True)
class ShownFinding:
    finding: Finding
    anchor: str
    alert: Alert | None
    answer: AlertAnswered | None


def _shown_findings(document: CallDocument) -> list[ShownFinding]:
    """Worst first."""
    alerts = {alert.finding: alert for alert in document.alerts}
    answers = {answer.alert: answer for answer in reversed(document.answers)}
    shown = []
    for finding in sorted(document.findings, key=lambda item: (WORST_FIRST.index(item.severity), item.at_ms)):
        alert = alerts.get(finding.id)
        shown.append(ShownFinding(finding, anchor_of(finding), alert, answers.get(alert.id) if alert else None))
    return shown


def export(visit: Visit) -> Response:
    """The redacted document as JSON, with who took it, when and why."""
    reason = visit.asked_reason()
    document = the_call(visit, Action.EXPORT)
    index = visit.record(Action.EXPORT, document.call, reason=reason)
    package = {
        "callwarden_call_export": 1,
        "exported_at": iso(visit.services.clock.now_ms()),
        "exported_by": visit.user.name,
        "reason": reason,
        "audit_entry": index,
        "notice": _NOTICE,
        "call": msgspec.to_builtins(document),
    }
    if document.speaker_turns:
        # The call holds words and turns; joined here, so that nobody has to do it by the times.
        package["speakers"] = [
            {"segment": part.segment.id, "start_ms": part.start_ms, "speaker": part.name, "text": part.text}
            for part in parts_of(document)
            if part.speaker is not None
        ]
    return Response(
        json.dumps(package, ensure_ascii=False, indent=1).encode(),
        media_type="application/json",
        headers={"Content-Disposition": f'attachment; filename="call-{document.call}.json"'},
    )
