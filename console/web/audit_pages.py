"""The access log, for the auditor. Reading it is an access too."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from starlette.responses import Response

from compliance.audit.audit_log import AuditFilter
from compliance.audit.leaf import LoggedEntry, encode_leaf
from compliance.audit.merkle import leaf_hash
from console.web.access import PageRefused, Visit
from events.audit_entry import Action, Outcome
from events.errors import SealBroken

FIELDS = ("actor", "action", "outcome", "subject", "from", "to")


def entries(visit: Visit) -> Response:
    values = filter_values(visit.request.query_params.items())
    only = audit_filter(values, visit.services.settings.timezone)
    before = _number(visit.request.query_params.get("before", ""))
    # Recorded first, so that the log that is shown ends with this reading of it.
    visit.record(Action.READ_AUDIT, "audit-log", detail=urlencode(values) or "everything")
    log, most = visit.services.audit_log, visit.services.settings.audit_page_size
    page = log.page(only, before, most + 1)
    more = len(page) > most
    return visit.page(
        "audit.html",
        entries=page[:most],
        values=values,
        actions=list(Action),
        outcomes=list(Outcome),
        actors=log.actors(),
        matching=log.matching(only),
        size=log.size,
        next_url=_url(values, page[most - 1].index) if more else "",
        first_url=_url(values) if before is not None else "",
        export_fields=values,
    )


def filter_values(items: object) -> dict[str, str]:
    return {name: value.strip()[:200] for name, value in items if name in FIELDS and value.strip()}  # type: ignore[attr-defined]


def audit_filter(values: dict[str, str], timezone: str) -> AuditFilter:
    """Raises PageRefused."""
    try:
        return AuditFilter(
            actor=values.get("actor", ""),
            action=Action(values["action"]) if "action" in values else None,
            outcome=Outcome(values["outcome"]) if "outcome" in values else None,
            subject=values.get("subject", ""),
            from_ms=_day(values.get("from", ""), timezone, 0),
            to_ms=_day(values.get("to", ""), timezone, 1),
        )
    except (ValueError, OverflowError):
        raise PageRefused(
            400, "A filter of the access log holds a value that does not exist.", "bad_request"
        ) from None


def _day(text: str, timezone: str, days_later: int) -> int | None:
    if not text:
        return None
    day = date.fromisoformat(text) + timedelta(days=days_later)
    return int(datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(timezone)).timestamp() * 1000)


def _number(text: str) -> int | None:
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 15:
        raise PageRefused(400, "The page of the access log does not exist.", "bad_request")
    return int(text)


def _url(values: dict[str, str], before: int | None = None) -> str:
    items = [*values.items(), *([("before", str(before))] if before is not None else [])]
    return "/audit?" + urlencode(items) if items else "/audit"


def _the_entry(visit: Visit) -> LoggedEntry:
    index = visit.request.path_params["index"]
    found = visit.services.audit_log.get(index) if index < 1 << 50 else None
    if found is None:
        raise PageRefused(404, "The audit log has no such entry.", "not_found")
    return found


def entry(visit: Visit) -> Response:
    logged = _the_entry(visit)
    visit.record(Action.READ_AUDIT, f"entry {logged.index}")
    return _entry(visit, logged, None)


def open_detail(visit: Visit) -> Response:
    """Show an entry's sealed detail: break-glass, with a reason, and recorded before it is opened."""
    reason = visit.asked_reason()
    logged = _the_entry(visit)
    visit.record(Action.REVEAL, f"entry {logged.index}", reason=reason)
    try:
        detail = visit.services.audit.open_detail(logged)
    except SealBroken:
        raise PageRefused(
            409, "The detail of this entry does not open with the site's audit key.", "seal"
        ) from None
    return _entry(visit, logged, detail)


def _entry(visit: Visit, logged: LoggedEntry, detail: str | None) -> Response:
    leaf = encode_leaf(logged)
    return visit.page(
        "audit_entry.html", logged=logged, detail=detail, leaf=leaf.decode(), leaf_sha256=leaf_hash(leaf).hex()
    )
