"""Who may open which page: every request goes through here, and what is not listed is refused.

A page is a plain function from a `Visit` to a response, run in a worker thread. Before it is called, the session
is looked up, the role compared, and for anything that changes something the form's token checked. Pages record
what they show through `Visit.record` before they return; when that fails, nobody gets an answer.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qs, quote, urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response

from compliance.audit.audit_log import AuditUnavailable
from console.users import User, UserRole
from console.web import render
from console.web.services import ConsoleServices
from console.web.sessions import Session
from events.audit_entry import Action, Outcome
from events.errors import CallwardenError, RetryLater, StopConsumer
from events.metrics import REQUESTS_REFUSED, count

_log: Final = logging.getLogger(__name__)
_MOST_FORM_BYTES: Final = 65_536
_MOST_FIELDS: Final = 100

EVERYBODY: Final = frozenset(UserRole)
OFFICER: Final = frozenset({UserRole.OFFICER})
SUPERVISOR: Final = frozenset({UserRole.SUPERVISOR})
AUDITOR: Final = frozenset({UserRole.AUDITOR})
ADMINISTRATOR: Final = frozenset({UserRole.ADMINISTRATOR})


class PageRefused(Exception):
    """No answer but an error page. `text` is one whole sentence for the person."""

    def __init__(self, status: int, text: str, cause: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.cause = cause


@dataclass(frozen=True, slots=True)
class Page:
    """A row of the table in `app`."""

    path: str
    handler: Callable[[Visit], Response]
    roles: frozenset[UserRole] | None
    """None: open to everybody, also without a log-in."""
    method: str = "GET"


@dataclass(slots=True)
class Visit:
    """One request, with the person who makes it."""

    services: ConsoleServices
    request: Request
    session: Session | None
    form: dict[str, str] = field(default_factory=dict)

    @property
    def user(self) -> User:
        if self.session is None:
            raise PageRefused(401, "Please log in first.", "not_logged_in")
        return self.session.user

    @property
    def address(self) -> str:
        return self.request.client.host if self.request.client else ""

    @property
    def secure(self) -> bool:
        return self.services.settings.https or self.request.url.scheme == "https"

    @property
    def cookie(self) -> str:
        """Name of the session cookie; the prefix binds it to this host and to TLS."""
        return "__Host-callwarden" if self.secure else "callwarden"

    def look_up_session(self) -> None:
        token = self.request.cookies.get(self.cookie, "")
        if token:
            self.session = self.services.sessions.find(token)

    def record(
        self,
        action: Action,
        subject: str,
        outcome: Outcome = Outcome.ALLOWED,
        *,
        detail: str | None = None,
        reason: str = "",
    ) -> int:
        """Write an audit entry about this person; returns once it is durable. Raises AuditUnavailable."""
        return self.services.audit.record(
            self.user.name,
            self.user.role.value,
            action,
            subject,
            outcome,
            detail=detail,
            reason=reason,
            address=self.address,
        )

    def asked_reason(self) -> str:
        """Return the reason that the form asked for. Raises PageRefused when there is none."""
        reason = " ".join(self.form.get("reason", "").split())
        if not 5 <= len(reason) <= 500:
            raise PageRefused(400, "Please give a reason of 5 to 500 characters.", "no_reason")
        return reason

    def page(self, template: str, status: int = 200, **context: Any) -> Response:
        return render.page(self, template, status, **context)

    def go(self, path: str) -> Response:
        return RedirectResponse(path, 303)


def home_of(role: UserRole) -> str:
    return {
        UserRole.OFFICER: "/search",
        UserRole.SUPERVISOR: "/live",
        UserRole.AUDITOR: "/audit",
        UserRole.ADMINISTRATOR: "/users",
    }[role]


def endpoint_of(page: Page, services: ConsoleServices) -> Callable[[Request], Awaitable[Response]]:
    """Return the Starlette endpoint of a page."""

    async def endpoint(request: Request) -> Response:
        visit = Visit(services, request, None)
        try:
            if page.method == "POST":
                _same_origin(request)
                visit.form = await _read_form(request)
            return await run_in_threadpool(_serve, page, visit)
        except ClientDisconnect:
            return Response(status_code=400)
        except Exception as error:
            return await run_in_threadpool(refusal, visit, error)

    return endpoint


def _serve(page: Page, visit: Visit) -> Response:
    visit.look_up_session()
    if page.roles is None:
        return page.handler(visit)
    if visit.session is None:
        if page.method == "GET" and "text/html" in visit.request.headers.get("accept", "text/html"):
            back = visit.request.url.path
            return visit.go("/login" if back == "/" else f"/login?next={quote(back)}")
        raise PageRefused(401, "Please log in first.", "not_logged_in")
    if visit.user.role not in page.roles:
        visit.record(Action.ACCESS_DENIED, f"{page.method} {page.path}", Outcome.DENIED)
        raise PageRefused(403, f"This page is not for the role {visit.user.role.value}.", "wrong_role")
    if page.method == "POST" and not visit.session.has_csrf(visit.form.get("csrf", "")):
        raise PageRefused(403, "The form was too old or came from another site; please try again.", "csrf")
    return page.handler(visit)


def _same_origin(request: Request) -> None:
    """Browsers say where a form comes from; a form of another site is refused before it is read."""
    origin = request.headers.get("origin")
    foreign = request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none")
    if foreign or (origin not in (None, "null") and urlsplit(origin).netloc != request.headers.get("host")):
        raise PageRefused(403, "The form came from another site.", "csrf")


async def _read_form(request: Request) -> dict[str, str]:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise PageRefused(415, "Forms are sent URL-encoded.", "bad_form")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MOST_FORM_BYTES:
            raise PageRefused(413, "The form is too large.", "too_large")
    try:
        fields = parse_qs(
            body.decode(), keep_blank_values=True, strict_parsing=bool(body), max_num_fields=_MOST_FIELDS
        )
    except ValueError:
        raise PageRefused(400, "The form cannot be read.", "bad_form") from None
    return {name: values[-1] for name, values in fields.items()}


def refusal(visit: Visit, error: Exception) -> Response:
    """Turn an error into a page of one sentence, and count it."""
    match error:
        case PageRefused():
            status, text, cause = error.status, error.text, error.cause
        case AuditUnavailable():
            _log.error("%s", error)
            status, cause = 503, "audit_unavailable"
            text = "The audit log cannot be written now, so nothing can be shown; please try again later."
        case RetryLater() | StopConsumer():
            # Of something behind the pages, which is away or has to be set otherwise; the visitor did nothing wrong.
            _log.warning("%s", error)
            status, text, cause = 503, str(error), "unavailable"
        case CallwardenError():
            status, text, cause = 400, str(error), "refused"
        case _:
            # The text of a foreign exception may quote what somebody said; where it happened does not.
            where = "; ".join(
                f"{frame.filename}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)[-6:]
            )
            _log.error("A page failed with %s at %s", type(error).__name__, where)
            status, text, cause = 500, "Something went wrong on our side; it has been noted.", "failed"
    count(REQUESTS_REFUSED, cause=cause)
    if status == 401 and visit.request.cookies.get(visit.cookie):
        response = visit.page("error.html", status, text=text, status_code=status)
        response.delete_cookie(visit.cookie, secure=visit.secure, httponly=True, samesite="lax")
        return response
    return visit.page("error.html", status, text=text, status_code=status)
