"""The administrator's pages: users and the state of the engine. Nothing of any call."""

from __future__ import annotations

from starlette.responses import Response

from console.users import UserRefused, UserRole
from console.web.access import PageRefused, Visit
from events.audit_entry import Action, Outcome


def users(visit: Visit) -> Response:
    return _users(visit)


def _users(visit: Visit, problem: str = "", status: int = 200, name: str = "") -> Response:
    said = visit.request.query_params.get("said", "")
    return visit.page(
        "users.html",
        status,
        users=visit.services.users.all(),
        roles=list(UserRole),
        problem=problem,
        said={"added": "The user was added.", "changed": "The user was changed."}.get(said, ""),
        name=name,
    )


def _role(text: str) -> UserRole:
    try:
        return UserRole(text)
    except ValueError:
        raise PageRefused(400, "There is no such role.", "bad_form") from None


def add_user(visit: Visit) -> Response:
    name, role = visit.form.get("name", "").strip().lower(), _role(visit.form.get("role", ""))
    # The entry comes first: a user that nobody recorded must not exist.
    visit.record(Action.USER_ADDED, name[:64], reason=f"as {role.value}")
    try:
        visit.services.users.add(name, role, visit.form.get("password", ""))
    except UserRefused as refused:
        visit.record(Action.USER_ADDED, name[:64], Outcome.FAILED, reason=f"as {role.value}")
        return _users(visit, str(refused), 400, name)
    return visit.go("/users?said=added")


def change_user(visit: Visit) -> Response:
    name, what = visit.form.get("name", ""), visit.form.get("what", "")
    store = visit.services.users
    reason = {"role": f"role {visit.form.get('role', '')}", "password": "new password"}.get(what, what)[:80]
    if what not in ("role", "password", "disable", "enable"):
        raise PageRefused(400, "There is no such change of a user.", "bad_form")
    role = _role(visit.form.get("role", "")) if what == "role" else None
    visit.record(Action.USER_CHANGED, name[:64], reason=reason)
    try:
        if what == "role":
            store.change(name, role=role)
        elif what == "password":
            store.change(name, password=visit.form.get("password", ""))
        else:
            store.change(name, disabled=what == "disable")
    except UserRefused as refused:
        visit.record(Action.USER_CHANGED, name[:64], Outcome.FAILED, reason=reason)
        return _users(visit, str(refused), 400)
    return visit.go("/users?said=changed")


def health(visit: Visit) -> Response:
    services = visit.services
    return visit.page(
        "health.html",
        health=services.health(),
        live_calls=sum(live.ended_ms is None for live in services.feed.calls()),
        audit_size=services.audit_log.size,
        last_checkpoint=services.audit_log.last_checkpoint_at(),
    )
