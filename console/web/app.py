"""The web application: the table of all pages, and what holds for every answer."""

from __future__ import annotations

import contextlib
from typing import Final

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from console.web import (
    account,
    administration,
    alert_pages,
    audit_pages,
    audit_proof,
    call_page,
    live_pages,
    operations,
    playback,
    search_page,
    sign_in,
)
from console.web.access import (
    ADMINISTRATOR,
    AUDITOR,
    EVERYBODY,
    OFFICER,
    SUPERVISOR,
    Page,
    PageRefused,
    Visit,
    endpoint_of,
    refusal,
)
from console.web.render import STATIC
from console.web.services import ConsoleServices
from events.errors import CallwardenError

PAGES: Final = (
    Page("/", sign_in.home, EVERYBODY),
    Page("/login", sign_in.log_in_page, None),
    Page("/login", sign_in.log_in, None, "POST"),
    Page("/logout", sign_in.log_out, EVERYBODY, "POST"),
    Page("/account", account.account_page, EVERYBODY),
    Page("/account/password", account.change_password, EVERYBODY, "POST"),
    Page("/search", search_page.search, OFFICER),
    Page("/calls/{call}", call_page.call, OFFICER),
    Page("/calls/{call}/export", call_page.export, OFFICER, "POST"),
    Page("/calls/{call}/recording.wav", playback.recording, OFFICER),
    Page("/live", live_pages.overview, SUPERVISOR),
    Page("/live/events", live_pages.overview_events, SUPERVISOR),
    Page("/live/{call}", live_pages.call, SUPERVISOR),
    Page("/live/{call}/events", live_pages.call_events, SUPERVISOR),
    Page("/alerts", alert_pages.alerts, SUPERVISOR),
    Page("/alerts/acknowledge", alert_pages.acknowledge, SUPERVISOR, "POST"),
    Page("/audit", audit_pages.entries, AUDITOR),
    Page("/audit/entries/{index:int}", audit_pages.entry, AUDITOR),
    Page("/audit/entries/{index:int}/open", audit_pages.open_detail, AUDITOR, "POST"),
    Page("/audit/proof", audit_proof.status, AUDITOR),
    Page("/audit/proof/verify", audit_proof.verify, AUDITOR, "POST"),
    Page("/audit/proof/export", audit_proof.export, AUDITOR, "POST"),
    Page("/audit/proof/public.key", audit_proof.public_key, AUDITOR),
    Page("/audit/proof/checkpoint", audit_proof.checkpoint, AUDITOR),
    Page("/users", administration.users, ADMINISTRATOR),
    Page("/users/add", administration.add_user, ADMINISTRATOR, "POST"),
    Page("/users/change", administration.change_user, ADMINISTRATOR, "POST"),
    Page("/health", administration.health, ADMINISTRATOR),
    Page("/healthz", operations.healthz, None),
    Page("/metrics", operations.metrics, None),
)

_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; media-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Search words stand in addresses; no other site may see them.
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}
_HSTS: Final = "max-age=31536000"


class _Headers:
    """Security headers on every answer. Pages are never kept by browsers, static files are."""

    def __init__(self, app: ASGIApp, https: bool) -> None:
        self._app = app
        self._https = https

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        static = scope["path"].startswith("/static/")

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
                if self._https:
                    headers["Strict-Transport-Security"] = _HSTS
                keep = static and message["status"] == 200
                headers["Cache-Control"] = "public, max-age=31536000, immutable" if keep else "no-store"
            await send(message)

        await self._app(scope, receive, send_with_headers)


def _refuse(visit: Visit, error: Exception) -> Response:
    with contextlib.suppress(CallwardenError):
        visit.look_up_session()
    return refusal(visit, error)


def create_app(services: ConsoleServices) -> Starlette:
    """Return the ASGI application. The caller starts and stops `services.feed`."""

    async def http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        refused = {
            404: PageRefused(404, "There is nothing at this address.", "not_found"),
            405: PageRefused(405, "This address does not take such a request.", "wrong_method"),
        }.get(error.status_code, PageRefused(error.status_code, "The request cannot be answered.", "bad_request"))
        return await run_in_threadpool(_refuse, Visit(services, request, None), refused)

    async def failure(request: Request, error: Exception) -> Response:
        return await run_in_threadpool(_refuse, Visit(services, request, None), error)

    routes = [Route(page.path, endpoint_of(page, services), methods=[page.method]) for page in PAGES]
    app = Starlette(
        routes=[*routes, Mount("/static", StaticFiles(directory=STATIC))],
        exception_handlers={HTTPException: http_error, Exception: failure},
    )
    app.add_middleware(_Headers, https=services.settings.https)
    return app
