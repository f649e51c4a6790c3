"""Who may open what: every page times every role, forms, sessions, headers, and no answer without an entry."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.routing import Mount, Route

from compliance.audit.audit_log import AuditFilter
from console.users import UserRole
from console.web.app import PAGES
from events.audit_entry import Action, AuditEntry, Outcome
from events.metrics import REQUESTS_REFUSED, counted
from tests.builders.made_calls import made_call_id
from tests.builders.made_console import NAMES, MadeConsole
from tests.builders.web_visitor import Visitor, text_of

OFFICER, SUPERVISOR = UserRole.OFFICER, UserRole.SUPERVISOR
AUDITOR, ADMINISTRATOR = UserRole.AUDITOR, UserRole.ADMINISTRATOR
EVERYBODY = set(UserRole)

# Written down a second time on purpose: a page that is opened to another role must be opened here too.
WHO_MAY = {
    ("GET", "/"): EVERYBODY,
    ("POST", "/logout"): EVERYBODY,
    ("GET", "/account"): EVERYBODY,
    ("POST", "/account/password"): EVERYBODY,
    ("GET", "/search"): {OFFICER},
    ("GET", "/calls/{call}"): {OFFICER},
    ("POST", "/calls/{call}/export"): {OFFICER},
    ("GET", "/calls/{call}/recording.wav"): {OFFICER},
    ("GET", "/live"): {SUPERVISOR},
    ("GET", "/live/events"): {SUPERVISOR},
    ("GET", "/live/{call}"): {SUPERVISOR},
    ("GET", "/live/{call}/events"): {SUPERVISOR},
    ("GET", "/alerts"): {SUPERVISOR},
    ("POST", "/alerts/acknowledge"): {SUPERVISOR},
    ("GET", "/audit"): {AUDITOR},
    ("GET", "/audit/entries/{index:int}"): {AUDITOR},
    ("POST", "/audit/entries/{index:int}/open"): {AUDITOR},
    ("GET", "/audit/proof"): {AUDITOR},
    ("POST", "/audit/proof/verify"): {AUDITOR},
    ("POST", "/audit/proof/export"): {AUDITOR},
    ("GET", "/audit/proof/public.key"): {AUDITOR},
    ("GET", "/audit/proof/checkpoint"): {AUDITOR},
    ("GET", "/users"): {ADMINISTRATOR},
    ("POST", "/users/add"): {ADMINISTRATOR},
    ("POST", "/users/change"): {ADMINISTRATOR},
    ("GET", "/health"): {ADMINISTRATOR},
}
OPEN_TO_ALL = {("GET", "/login"), ("POST", "/login"), ("GET", "/healthz"), ("GET", "/metrics")}
STREAMS = {"/live/events", "/live/{call}/events"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MadeConsole]:
    made = MadeConsole(tmp_path_factory.mktemp("console"), calls=2)
    yield made
    made.close()


def newest(made: MadeConsole, **wanted: object) -> AuditEntry:
    return made.audit_log.page(AuditFilter(**wanted), None, 1)[0].entry  # type: ignore[arg-type]


def address(path: str, call: str) -> str:
    return path.replace("{call}", call).replace("{index:int}", "0")


def test_the_table_of_pages_is_the_whole_application(made: MadeConsole) -> None:
    routes = made.app().routes
    pages = {(page.method, page.path) for page in PAGES}
    assert pages == set(WHO_MAY) | OPEN_TO_ALL
    assert {route.path for route in routes if isinstance(route, Mount)} == {"/static"}
    assert {route.path for route in routes if isinstance(route, Route)} == {path for _, path in pages}


@pytest.mark.parametrize("role", UserRole)
def test_every_page_is_refused_to_every_other_role(made: MadeConsole, role: UserRole) -> None:
    visitor = Visitor(made.app(), role)
    for (method, path), allowed in WHO_MAY.items():
        if role in allowed:
            continue
        where = address(path, made.calls[0].call)
        answer = visitor.get(where) if method == "GET" else visitor.post(where)
        assert answer.status_code == 403, (method, path)
        assert f"not for the role {role.value}" in answer.text
        entry = newest(made, action=Action.ACCESS_DENIED)
        assert (entry.actor, entry.subject, entry.outcome) == (NAMES[role], f"{method} {path}", Outcome.DENIED)


@pytest.mark.parametrize("role", UserRole)
def test_every_page_is_open_to_its_role(made: MadeConsole, role: UserRole) -> None:
    visitor = Visitor(made.app(), role)
    made.audit_log.add_checkpoint()
    for (method, path), allowed in WHO_MAY.items():
        if role in allowed and method == "GET" and path not in STREAMS and not path.startswith("/live/"):
            answer = visitor.get(address(path, made.calls[0].call))
            assert answer.status_code == (303 if path == "/" else 200), path


def test_without_a_log_in_there_is_nothing(made: MadeConsole) -> None:
    visitor = Visitor(made.app())
    size = made.audit_log.size
    for method, path in WHO_MAY:
        where = address(path, made.calls[0].call)
        answer = visitor.get(where) if method == "GET" else visitor.post(where, token="x")
        if method == "GET":
            assert answer.status_code == 303, path
            assert answer.headers["location"].startswith("/login"), path
        else:
            assert answer.status_code == 401, path
    assert made.audit_log.size == size, "strangers cannot fill the log"


def test_forms_need_the_session_s_token(made: MadeConsole) -> None:
    visitor, other = Visitor(made.app(), OFFICER), Visitor(made.app(), OFFICER)
    path = f"/calls/{made.calls[0].call}/export"
    for token in ("", "wrong", other.token(other.get("/account"))):
        answer = visitor.post(path, {"reason": "because I say so"}, token=token)
        assert answer.status_code == 403
        assert "too old or came from another site" in answer.text
    assert visitor.post(path, {"reason": "because I say so"}).status_code == 200


@pytest.mark.parametrize("headers", [{"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}])
def test_forms_of_other_sites_are_refused(made: MadeConsole, headers: dict[str, str]) -> None:
    visitor = Visitor(made.app(), OFFICER)
    answer = visitor.client.post("/logout", data={"csrf": visitor.token(visitor.get("/account"))}, headers=headers)
    assert answer.status_code == 403
    assert visitor.get("/account").status_code == 200, "still logged in"


def test_log_ins_are_recorded_good_and_bad(made: MadeConsole) -> None:
    visitor = Visitor(made.app())
    assert visitor.log_in("olga", "not her password").status_code == 401
    entry = newest(made)
    assert (entry.action, entry.outcome, entry.actor, entry.reason) == (Action.LOG_IN, Outcome.DENIED, "", "wrong")
    logged = made.audit_log.page(AuditFilter(), None, 1)[0]
    assert made.services.audit.open_detail(logged) == "olga", "what was typed as a name may be a password: sealed"
    assert visitor.log_in("olga").headers["location"] == "/search"
    assert (newest(made).action, newest(made).actor, newest(made).address) == (Action.LOG_IN, "olga", "testclient")
    visitor.post("/logout")
    assert newest(made).action is Action.LOG_OUT
    assert visitor.get("/search").status_code == 303


def test_logging_in_changes_the_session(made: MadeConsole) -> None:
    visitor = Visitor(made.app())
    visitor.client.cookies.set("callwarden", "planted-by-somebody-else")
    visitor.log_in("olga")
    cookie = visitor.client.cookies.get("callwarden", domain="testserver.local")
    assert cookie != "planted-by-somebody-else"
    assert made.services.sessions.find("planted-by-somebody-else") is None


def test_cookies_are_kept_from_scripts_and_other_sites(made: MadeConsole) -> None:
    visitor = Visitor(made.app())
    cookie = visitor.log_in("olga").headers.get_list("set-cookie")[0]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    visitor.client.base_url = "https://testserver"  # type: ignore[assignment]
    secure = visitor.log_in("olga").headers.get_list("set-cookie")
    assert any(one.startswith("__Host-callwarden=") and "Secure" in one for one in secure)


@pytest.mark.parametrize("way_back", ["//evil.example", "https://evil.example", "/\\evil.example", "javascript:x"])
def test_log_ins_lead_to_no_other_site(made: MadeConsole, way_back: str) -> None:
    assert Visitor(made.app()).log_in("olga", next=way_back).headers["location"] == "/search"


def test_the_way_back_leads_to_the_page_that_was_asked(made: MadeConsole) -> None:
    visitor = Visitor(made.app())
    asked = visitor.get(f"/calls/{made.calls[0].call}")
    assert asked.headers["location"] == f"/login?next=/calls/{made.calls[0].call}"
    done = visitor.log_in("olga", next=f"/calls/{made.calls[0].call}")
    assert done.headers["location"] == f"/calls/{made.calls[0].call}"


def test_every_answer_has_the_security_headers(made: MadeConsole) -> None:
    visitor = Visitor(made.app(), OFFICER)
    for path in ("/search", "/nothing", "/login", "/healthz", "/static/base.css", "/users"):
        headers = visitor.get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["x-frame-options"] == "DENY"
        assert ("no-store" in headers["cache-control"]) == (not path.startswith("/static"))


def test_no_page_has_inline_scripts_or_styles(made: MadeConsole) -> None:
    for role in UserRole:
        visitor = Visitor(made.app(), role)
        for (method, path), allowed in WHO_MAY.items():
            if method == "GET" and role in allowed and path not in STREAMS:
                text = visitor.get(address(path, made.calls[0].call)).text
                assert "<script>" not in text
                assert " style=" not in text
                assert " onclick=" not in text


@pytest.mark.parametrize(
    ("path", "status", "cause"),
    [
        ("/nothing", 404, "not_found"),
        ("/search/", 404, "not_found"),
        ("/calls/../../etc/passwd", 404, "not_found"),
    ],
)
def test_wrong_addresses_get_one_sentence_and_are_counted(
    made: MadeConsole, path: str, status: int, cause: str
) -> None:
    visitor = Visitor(made.app(), OFFICER)
    before = counted(REQUESTS_REFUSED, cause=cause)
    answer = visitor.get(path)
    assert answer.status_code in (status, 307)
    if answer.status_code == status:
        assert "There is nothing at this address." in text_of(answer)
        assert counted(REQUESTS_REFUSED, cause=cause) == before + 1


def test_wrong_methods_and_forms_are_refused(made: MadeConsole) -> None:
    visitor = Visitor(made.app(), OFFICER)
    assert visitor.client.put("/search").status_code == 405
    assert visitor.client.post("/logout", json={"csrf": "x"}).status_code == 415
    assert visitor.client.post("/logout", data={"csrf": "x" * 70_000}).status_code == 413
    many = "&".join(f"f{n}=1" for n in range(200))
    form = {"content-type": "application/x-www-form-urlencoded"}
    assert visitor.client.post("/logout", content=many, headers=form).status_code == 400
    assert visitor.client.post("/logout", content=b"\xff\xfe=1", headers=form).status_code == 400


@pytest.mark.parametrize("call", ["x", "0" * 31, "Z" * 32, "%00" * 32, made_call_id(999)])
def test_calls_that_are_not_there(made: MadeConsole, call: str) -> None:
    answer = Visitor(made.app(), OFFICER).get(f"/calls/{call}")
    assert answer.status_code == 404
    assert "There is" in text_of(answer)


def test_nothing_is_shown_when_the_audit_log_cannot_be_written(tmp_path: Path) -> None:
    made = MadeConsole(tmp_path, calls=1)
    made.audit_log._db.execute("PRAGMA busy_timeout = 1")
    visitors = {role: Visitor(made.app(), role) for role in UserRole}
    blocker = sqlite3.connect(tmp_path / "audit" / "audit.sqlite", isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    call = made.calls[0].call
    places = {
        OFFICER: ["/search?q=guaranteed", f"/calls/{call}", f"/calls/{call}/recording.wav"],
        SUPERVISOR: ["/live", "/live/events", "/alerts"],
        AUDITOR: ["/audit", "/audit/entries/0", "/audit/proof"],
    }
    for role, paths in places.items():
        for path in paths:
            answer = visitors[role].get(path)
            assert answer.status_code == 503, path
            assert "nothing can be shown" in answer.text
            assert "guaranteed return" not in answer.text
    assert Visitor(made.app()).log_in("olga").status_code == 503
    for role, path in ((OFFICER, f"/calls/{call}/export"), (ADMINISTRATOR, "/users/add")):
        token = visitors[role].token(visitors[role].get("/account"))
        fields = {"reason": "a good reason", "name": "new", "role": "officer", "password": "long enough it is"}
        assert visitors[role].post(path, fields, token=token).status_code == 503
    assert made.users.get("new") is None
    blocker.execute("ROLLBACK")
    assert visitors[OFFICER].get("/search").status_code == 200
    made.close()


def test_a_page_that_fails_says_so_without_a_trace(made: MadeConsole, caplog: pytest.LogCaptureFixture) -> None:
    app = made.app()
    visitor = Visitor(app, OFFICER)
    good = made.index.search

    def bad(query: object) -> object:
        raise RuntimeError("the customer said four two four two")

    made.index.search = bad  # type: ignore[method-assign, assignment]
    try:
        answer = visitor.get("/search?q=secret")
    finally:
        made.index.search = good  # type: ignore[method-assign]
    assert answer.status_code == 500
    assert "Something went wrong on our side" in answer.text
    assert "Traceback" not in answer.text
    assert "four two" not in answer.text + caplog.text
    assert "RuntimeError" in caplog.text


def test_log_lines_hold_no_words(made: MadeConsole, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    visitor = Visitor(made.app(), OFFICER)
    visitor.get("/search?q=guaranteed+secretword")
    visitor.get(f"/calls/{made.calls[0].call}")
    ours = "".join(record.getMessage() for record in caplog.records if not record.name.startswith("httpx"))
    assert "secretword" not in ours
    assert "guaranteed" not in ours


def test_health_for_machines_needs_no_log_in_and_says_nothing_personal(made: MadeConsole) -> None:
    answer = Visitor(made.app()).get("/healthz")
    assert answer.status_code == 200
    assert answer.json()["status"] == "ok"
    assert answer.json()["stages"]["capture"] == "running"


def test_metrics_are_for_loopback_or_the_token(made: MadeConsole) -> None:
    visitor = Visitor(made.app())
    assert visitor.get("/metrics").status_code == 403, "the test client is no loopback address"
    visitor.client._transport.client = ("127.0.0.1", 5)  # type: ignore[attr-defined]
    answer = visitor.get("/metrics")
    assert answer.status_code == 200
    assert "callwarden_audit_entries_total" in answer.text
