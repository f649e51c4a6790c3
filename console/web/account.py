"""A user's own password."""

from __future__ import annotations

from starlette.responses import Response

from console.users import LoginRefused, UserRefused
from console.web.access import Visit
from events.audit_entry import Action, Outcome


def account_page(visit: Visit) -> Response:
    return visit.page("account.html", problem="", done="done" in visit.request.query_params)


def change_password(visit: Visit) -> Response:
    name, new = visit.user.name, visit.form.get("new", "")
    users = visit.services.users
    try:
        users.log_in(name, visit.form.get("old", ""), visit.address)
    except LoginRefused as refused:
        visit.record(Action.USER_CHANGED, name, Outcome.DENIED, reason="own password")
        return visit.page("account.html", 403, problem=str(refused), done=False)
    if new != visit.form.get("again", ""):
        return visit.page("account.html", 400, problem="The two new passwords differ.", done=False)
    visit.record(Action.USER_CHANGED, name, reason="own password")
    try:
        changed = users.change(name, password=new)
    except UserRefused as refused:
        visit.record(Action.USER_CHANGED, name, Outcome.FAILED, reason="own password")
        return visit.page("account.html", 400, problem=str(refused), done=False)
    # A change ends all sessions of the user; this browser gets a new one.
    response = visit.go("/account?done")
    token = visit.services.sessions.begin(changed)
    response.set_cookie(visit.cookie, token, path="/", secure=visit.secure, httponly=True, samesite="lax")
    return response
