"""Alerts: what is open, what was answered, and answering."""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from console.web.access import PageRefused, Visit
from console.web.live_pages import names_of
from console.web.transcript_view import names_in
from events.audit_entry import Action
from events.finding import Alert, AlertAnswered
from events.identity import RecordId, record_id
from events.topics import ALERT
from indexer.index import CallQuery, SearchOrder

_CALLS_A_PAGE: Final = 25


def alerts(visit: Visit) -> Response:
    cursor = visit.request.query_params.get("cursor", "")[:500]
    page = visit.services.index.search(
        CallQuery(has_findings=True, order=SearchOrder.NEWEST, page_size=_CALLS_A_PAGE, cursor=cursor)
    )
    live = {item.alert.id: item for item in visit.services.feed.alerts()}
    history: dict[RecordId, tuple[Alert, AlertAnswered | None]] = {}
    titles: dict[str, str] = {}
    for hit in page.hits:
        document = visit.services.index.get(hit.summary.call) if hit.summary.alerts else None
        if document is None:
            continue
        titles[document.call] = " and ".join(names_in(document).values())
        answers = {answer.alert: answer for answer in reversed(document.answers)}
        for alert in document.alerts:
            known = live.get(alert.id)
            history[alert.id] = (alert, (known.answer if known else None) or answers.get(alert.id))
    if not cursor:
        history |= {item.alert.id: (item.alert, item.answer) for item in live.values()}
    shown = sorted(history.values(), key=lambda pair: -pair[0].raised_at_ms)
    visit.record(Action.VIEW_LIVE, "alerts")
    in_progress = visit.services.feed.calls()
    titles |= {one.call: " and ".join(names_of(one).values()) for one in in_progress}
    return visit.page(
        "alerts.html",
        open_alerts=[alert for alert, answer in shown if answer is None],
        answered=[(alert, answer) for alert, answer in shown if answer is not None],
        in_progress={one.call for one in in_progress},
        titles=titles,
        next_cursor=page.next_cursor or "",
        first=not cursor,
    )


def acknowledge(visit: Visit) -> Response:
    """Answer an alert. The answer's id is made from the alert's, so that the first one stands."""
    alert = _find(visit, RecordId(visit.form.get("alert", "")))
    services = visit.services
    answer = AlertAnswered(
        record_id(alert.call, "alert_answered", alert.id.removeprefix(f"{alert.call}:")),
        alert.id,
        alert.call,
        visit.user.name,
        services.clock.now_ms(),
    )
    visit.record(Action.ACKNOWLEDGE_ALERT, alert.id)
    services.log.append(ALERT, [services.sealer.event(ALERT, answer)])
    services.feed.take(answer)
    back = visit.form.get("back", "")
    known = back in ("/alerts", "/live") or back == f"/live/{alert.call}"
    return visit.go(back if known else "/alerts")


def _find(visit: Visit, alert_id: RecordId) -> Alert:
    live = visit.services.feed.alert(alert_id)
    if live is not None:
        return live.alert
    call = alert_id.partition(":")[0]
    document = visit.services.index.get(call) if len(call) == 32 else None  # type: ignore[arg-type]
    for alert in document.alerts if document else ():
        if alert.id == alert_id:
            return alert
    raise PageRefused(404, "There is no such alert.", "not_found")
