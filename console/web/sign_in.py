"""Logging in and out."""

from __future__ import annotations

import hmac
import secrets
from typing import Final

from starlette.responses import Response

from console.users import LoginRefused
from console.web.access import PageRefused, Visit, home_of
from events.audit_entry import Action, Outcome

_FORM_COOKIE: Final = "callwarden_form"
_FORM_MINUTES: Final = 60


def home(visit: Visit) -> Response:
    return visit.go(home_of(visit.user.role))


def log_in_page(visit: Visit) -> Response:
    if visit.session is not None:
        return visit.go(home_of(visit.user.role))
    return _form(visit, "", "", visit.request.query_params.get("next", ""))


def log_in(visit: Visit) -> Response:
    expected = visit.request.cookies.get(_FORM_COOKIE, "")
    if not expected or not hmac.compare_digest(
        expected.encode(), visit.form.get("csrf", "").encode("utf-8", "replace")
    ):
        return _form(visit, "", "The form was too old; please try again.", visit.form.get("next", ""), 403)
    name = visit.form.get("name", "").strip().lower()
    try:
        user = visit.services.users.log_in(name, visit.form.get("password", ""), visit.address)
    except LoginRefused as refused:
        visit.services.audit.record(
            "",
            "",
            Action.LOG_IN,
            "console",
            Outcome.DENIED,
            detail=name,
            reason=refused.cause,
            address=visit.address,
        )
        status = 401 if refused.cause in ("wrong", "disabled") else 429
        return _form(visit, name, str(refused), visit.form.get("next", ""), status)
    visit.services.audit.record(user.name, user.role.value, Action.LOG_IN, "console", address=visit.address)
    _end_old_session(visit)
    token = visit.services.sessions.begin(user)
    response = visit.go(_way_back(visit.form.get("next", "")) or home_of(user.role))
    response.set_cookie(visit.cookie, token, path="/", secure=visit.secure, httponly=True, samesite="lax")
    response.delete_cookie(_FORM_COOKIE, path="/login")
    return response


def log_out(visit: Visit) -> Response:
    visit.record(Action.LOG_OUT, "console")
    _end_old_session(visit)
    response = visit.go("/login")
    response.delete_cookie(visit.cookie, path="/", secure=visit.secure, httponly=True, samesite="lax")
    response.headers["Clear-Site-Data"] = '"cache"'
    return response


def _end_old_session(visit: Visit) -> None:
    token = visit.request.cookies.get(visit.cookie)
    if token:
        visit.services.sessions.end(token)


def _form(visit: Visit, name: str, problem: str, way_back: str, status: int = 200) -> Response:
    token = secrets.token_urlsafe(24)
    response = visit.page(
        "login.html", status, name=name, problem=problem, way_back=_way_back(way_back), form_token=token
    )
    response.set_cookie(
        _FORM_COOKIE,
        token,
        max_age=_FORM_MINUTES * 60,
        path="/login",
        secure=visit.secure,
        httponly=True,
        samesite="strict",
    )
    return response


def _way_back(path: str) -> str:
    """Return `path` when it is a page of ours, else nothing: no log-in may lead to another site."""
    if not path.startswith("/") or path.startswith("//") or "\\" in path or not path.isprintable():
        return ""
    if len(path) > 200:
        raise PageRefused(400, "The address to return to is too long.", "bad_request")
    return path
