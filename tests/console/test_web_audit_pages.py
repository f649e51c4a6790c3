"""The auditor's pages, and the administrator's."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from compliance.audit.audit_log import AuditFilter
from compliance.audit.checkpoint import open_checkpoint, parse_public_key
from compliance.audit.verify import verify_lines
from console.users import UserRole
from events.audit_entry import Action, AuditEntry, Outcome
from tests.builders.made_console import MadeConsole
from tests.builders.web_visitor import Visitor, text_of


@pytest.fixture
def made(tmp_path: Path) -> Iterator[MadeConsole]:
    made = MadeConsole(tmp_path, calls=1)
    officer = Visitor(made.app(), UserRole.OFFICER)
    officer.get("/search?q=something+private")
    officer.get(f"/calls/{made.calls[0].call}")
    yield made
    made.close()


@pytest.fixture
def auditor(made: MadeConsole) -> Visitor:
    return Visitor(made.app(), UserRole.AUDITOR)


def newest(made: MadeConsole) -> AuditEntry:
    return made.audit_log.page(AuditFilter(), None, 1)[0].entry


def test_the_log_shows_who_did_what_and_ends_with_this_reading(made: MadeConsole, auditor: Visitor) -> None:
    words = text_of(auditor.get("/audit"))
    for expected in ("olga officer", "view call", made.calls[0].call, "search", "sealed detail", "5 of 5 entries"):
        assert expected in words
    assert "something private" not in words
    table = words.partition("To what, why From")[2]
    assert table.index("read audit") < table.index("view call")


def test_filters_and_pages(made: MadeConsole, auditor: Visitor) -> None:
    words = text_of(auditor.get("/audit?action=search&actor=olga&from=2026-11-01&to=2026-11-30"))
    assert "1 of " in words
    assert "Nothing" not in words
    assert "No such entries" in text_of(auditor.get("/audit?subject=nobody"))
    for _ in range(60):
        auditor.get("/audit/proof/public.key")
    first = auditor.get("/audit").text
    older = re.findall(r'href="(/audit\?before=\d+)" rel="next"', first)
    assert older
    assert "log-in" in text_of(auditor.get(older[0]))


@pytest.mark.parametrize(
    "query", ["action=dance", "from=tomorrow", "before=x", "before=" + "9" * 40, "outcome=%00"]
)
def test_filters_without_sense_are_refused(auditor: Visitor, query: str) -> None:
    answer = auditor.get(f"/audit?{query}")
    assert answer.status_code == 400
    assert "access log" in text_of(answer)


def test_a_sealed_detail_is_opened_with_a_reason_that_is_recorded(made: MadeConsole, auditor: Visitor) -> None:
    index = made.audit_log.page(AuditFilter(action=Action.SEARCH), None, 1)[0].index
    page = auditor.get(f"/audit/entries/{index}")
    assert "something private" not in page.text
    assert auditor.post(f"/audit/entries/{index}/open", {"reason": "no"}).status_code == 400
    assert newest(made).action is not Action.REVEAL
    opened = auditor.post(f"/audit/entries/{index}/open", {"reason": "asked by the board"})
    assert "something private" in opened.text
    entry = newest(made)
    assert (entry.action, entry.actor, entry.subject, entry.reason) == (
        Action.REVEAL,
        "aydin",
        f"entry {index}",
        "asked by the board",
    )


def test_entries_that_are_not_there(auditor: Visitor) -> None:
    for path in ("/audit/entries/99999", "/audit/entries/" + "9" * 30, "/audit/entries/-1"):
        assert auditor.get(path).status_code == 404


def test_the_log_is_verified_in_the_page(made: MadeConsole, auditor: Visitor) -> None:
    kept = made.audit_log.add_checkpoint().note
    auditor.get("/audit")
    answer = auditor.post("/audit/proof/verify", {"checkpoint": kept.replace("\n", "\r\n")})
    assert "The log is complete and unchanged" in answer.text
    assert "2 kept ones compared" in text_of(answer)
    assert newest(made).action is Action.VERIFY_AUDIT
    wrong = auditor.post("/audit/proof/verify", {"checkpoint": kept.replace("at_ms 1", "at_ms 2")})
    assert "A checkpoint was changed after it was signed." in text_of(wrong)


def test_a_log_that_was_changed_on_disk_is_told(made: MadeConsole, auditor: Visitor) -> None:
    made.audit_log.add_checkpoint()
    other = sqlite3.connect(made.folder / "audit" / "audit.sqlite", isolation_level=None)
    other.execute("DROP TRIGGER entry_no_update")
    other.execute("UPDATE entry SET leaf = CAST(replace(leaf, 'officer', 'auditor') AS BLOB) WHERE idx = 1")
    answer = auditor.post("/audit/proof/verify")
    assert "The log cannot be relied upon" in answer.text
    assert "are others than those that the kept checkpoint" in text_of(answer)


def test_exports_verify_offline(made: MadeConsole, auditor: Visitor) -> None:
    key = parse_public_key(auditor.get("/audit/proof/public.key").text)
    made.audit_log.add_checkpoint()
    kept = open_checkpoint(auditor.get("/audit/proof/checkpoint").text, key)
    assert auditor.post("/audit/proof/export").status_code == 400, "a reason is asked for"
    whole = auditor.post("/audit/proof/export", {"reason": "quarterly review"})
    found = verify_lines(whole.content.splitlines(keepends=True), key, [kept])
    assert found.ok, found.problems
    assert found.entries == made.audit_log.size
    assert (newest(made).action, newest(made).reason) == (Action.EXPORT_AUDIT, "quarterly review")
    part = auditor.post("/audit/proof/export", {"reason": "one person", "actor": "olga"})
    found = verify_lines(part.content.splitlines(keepends=True), key, [kept])
    assert found.ok, found.problems
    assert (found.kind, found.entries) == ("selection", 3)


def test_users_are_added_and_changed_and_both_recorded(made: MadeConsole) -> None:
    admin = Visitor(made.app(), UserRole.ADMINISTRATOR)
    new = {"name": "Nora", "role": "officer", "password": "a long password"}
    assert admin.post("/users/add", new).headers["location"] == "/users?said=added"
    assert (newest(made).action, newest(made).subject, newest(made).reason) == (
        Action.USER_ADDED,
        "nora",
        "as officer",
    )
    again = admin.post("/users/add", new)
    assert "exists already" in again.text
    assert newest(made).outcome is Outcome.FAILED
    nora = Visitor(made.app())
    assert nora.log_in("nora", "a long password").status_code == 303
    made.clock.advance(1)
    admin.post("/users/change", {"name": "nora", "what": "role", "role": "auditor"})
    assert nora.get("/search").status_code == 303, "the change ended her session"
    assert made.users.get("nora").role is UserRole.AUDITOR  # type: ignore[union-attr]
    admin.post("/users/change", {"name": "nora", "what": "disable"})
    assert nora.log_in("nora", "a long password").status_code == 401
    admin.post("/users/change", {"name": "nora", "what": "enable"})
    admin.post("/users/change", {"name": "nora", "what": "password", "password": "another password"})
    assert nora.log_in("nora", "another password").status_code == 303
    assert "last administrator" in admin.post("/users/change", {"name": "adam", "what": "disable"}).text
    assert admin.post("/users/change", {"name": "adam", "what": "promote"}).status_code == 400
    assert admin.post("/users/add", new | {"role": "king"}).status_code == 400


def test_the_administrator_sees_health_and_nothing_of_calls(made: MadeConsole) -> None:
    admin = Visitor(made.app(), UserRole.ADMINISTRATOR)
    words = text_of(admin.get("/health"))
    assert "All stages are running" in words
    assert "recogniser-1" in words
    for path in ("/health", "/users"):
        text = admin.get(path).text
        assert made.calls[0].call not in text
        assert "guaranteed" not in text


def test_people_change_their_own_password(made: MadeConsole) -> None:
    visitor = Visitor(made.app(), UserRole.OFFICER)
    fields = {"old": "wrong", "new": "brand new secret", "again": "brand new secret"}
    assert visitor.post("/account/password", fields).status_code == 403
    good = fields | {"old": "correct horse battery"}
    assert "differ" in visitor.post("/account/password", good | {"again": "other"}).text
    assert "10 to 512" in visitor.post("/account/password", good | {"new": "x", "again": "x"}).text
    made.clock.advance(1)
    assert visitor.post("/account/password", good).headers["location"] == "/account?done"
    assert visitor.get("/account?done").status_code == 200, "this browser stays logged in"
    assert Visitor(made.app()).log_in("olga", "brand new secret").status_code == 303
