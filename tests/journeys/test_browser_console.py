"""The console in a real browser, on real stores with made calls."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from compliance.audit.checkpoint import read_checkpoint, read_public_key
from compliance.audit.verify import verify_export
from console.users import UserRole
from events.codec import Record
from events.identity import Role
from events.lifecycle import CallEnded, CallSourceKind, CallStarted, EndReason, LegAdded
from events.topics import ALERT, CALL_LIFECYCLE, TRANSCRIPT_PARTIAL, TRANSCRIPT_REDACTED, Topic
from events.transcript import SegmentStatus
from tests.builders.browser import chromium, open_console, until
from tests.builders.made_calls import made_call
from tests.builders.made_console import MadeConsole, ServedConsole, served
from tests.builders.mono_calls import mono_call

pytestmark = pytest.mark.browser

MONO = mono_call(14)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedConsole]:
    made = MadeConsole(tmp_path_factory.mktemp("console"), calls=6)
    made.keep(MONO)
    with served(made) as console:
        yield console
    made.close()


def test_an_officer_finds_a_call_and_hears_the_clicked_word(browser: Browser, console: ServedConsole) -> None:
    page, errors = open_console(browser, console.url, UserRole.OFFICER)
    page.fill("[name=q]", '"guaranteed return"')
    page.press("[name=q]", "Enter")
    expect(page.locator(".hit")).to_have_count(2)
    expect(page.locator(".hit mark").first).to_contain_text("guaranteed")
    page.locator(".hit h2 a").last.click()
    expect(page.locator(".wave .sound-of")).to_have_count(2)
    expect(page.locator(".hidden-span")).to_have_count(5)
    assert page.evaluate("document.getElementById('audio').readyState") == 0, (
        "nothing is loaded before it is asked for"
    )
    word = page.locator(".w.found.high").first
    start_ms = int(word.get_attribute("data-s") or 0)
    word.click()
    until(page, "!document.getElementById('audio').paused && document.getElementById('audio').currentTime > 0")
    until(page, f"document.getElementById('audio').currentTime * 1000 >= {start_ms + 100}")
    assert page.evaluate("document.getElementById('audio').currentTime") * 1000 < start_ms + 20_000
    until(page, "document.querySelectorAll('.w.now').length > 0")
    x = float(page.locator(".playhead").get_attribute("x1") or 0)
    assert x >= 1000 * start_ms / console.made.calls[0].duration_ms - 1
    page.get_by_role("button", name="Pause").click()
    until(page, "document.getElementById('audio').paused")
    assert errors == []


def test_a_call_is_exported_with_a_reason(browser: Browser, console: ServedConsole, tmp_path: Path) -> None:
    page, errors = open_console(browser, console.url, UserRole.OFFICER)
    call = console.made.calls[1]
    page.goto(f"{console.url}/calls/{call.call}")
    page.get_by_text("Export", exact=True).click()
    page.fill("[name=reason]", "complaint 2211")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download").click()
    download.value.save_as(tmp_path / "call.json")
    assert json.loads((tmp_path / "call.json").read_text())["call"]["call"] == call.call
    assert errors == []


def _put(console: ServedConsole, topic: Topic, *records: Record) -> None:
    made = console.made
    made.log.append(topic, [made.sealer.event(topic, record) for record in records])


def test_a_supervisor_sees_a_call_as_it_is_spoken_and_answers_its_alert(
    browser: Browser, console: ServedConsole
) -> None:
    document = made_call(40, recorded=False)
    console.made.keys.create(document.call)
    page, errors = open_console(browser, console.url, UserRole.SUPERVISOR)
    expect(page.locator("#connection")).to_have_text("live")
    expect(page.get_by_text("No calls in progress")).to_be_visible()
    _put(
        console,
        CALL_LIFECYCLE,
        CallStarted(document.call, console.made.clock.now_ms(), CallSourceKind.SIP),
        LegAdded(document.call, 0, 0, Role.AGENT, True, speaker_name="Laura Bennett"),
        LegAdded(document.call, 1, 0, Role.CUSTOMER, True),
    )
    card = page.locator(".live-card")
    expect(card).to_contain_text("Laura Bennett and Customer")
    expect(page.get_by_text("No calls in progress")).to_be_hidden()
    card.click()
    expect(page.locator("#connection")).to_have_text("live")
    first, number = document.segments[0], document.segments[10]
    _put(console, TRANSCRIPT_PARTIAL, replace(first, status=SegmentStatus.PARTIAL, words=first.words[:3]))
    expect(page.locator(".turn.partial p.for-reading")).to_have_text("good morning thank")
    _put(console, TRANSCRIPT_REDACTED, first, number)
    expect(page.locator(".turn.partial")).to_have_count(0)
    expect(page.locator(".turn")).to_have_count(2)
    expect(page.locator("p.for-reading .w.gone")).to_have_text("card number")
    _put(console, ALERT, document.alerts[0])
    alert = page.locator(".alert", has_text="Promise of a certain gain")
    expect(alert).to_be_visible()
    alert.get_by_role("button", name="Acknowledge").click()
    expect(page.locator(".alert")).to_have_count(0)
    page.goto(f"{console.url}/alerts")
    expect(page.locator("tr", has_text="Promise of a certain gain").first).to_contain_text("sonja")
    page.goto(f"{console.url}/live/{document.call}")
    _put(console, CALL_LIFECYCLE, CallEnded(document.call, 1, 60_000, EndReason.HUNG_UP))
    expect(page.locator(".elapsed")).to_have_text("ended")
    assert errors == []


def test_an_auditor_verifies_the_log_here_and_elsewhere(
    browser: Browser, console: ServedConsole, tmp_path: Path
) -> None:
    page, errors = open_console(browser, console.url, UserRole.AUDITOR)
    expect(page.locator("tbody tr").first).to_contain_text("read audit")
    page.get_by_role("link", name="Proof").click()
    page.get_by_role("button", name="Verify the log").click()
    expect(page.get_by_text("The log is complete and unchanged")).to_be_visible()
    for link, name in (("Checkpoint", "kept.checkpoint"), ("Public key", "public.key")):
        with page.expect_download() as download:
            page.get_by_role("link", name=link).click()
        download.value.save_as(tmp_path / name)
    page.fill("form[action$=export] [name=reason]", "quarterly review")
    with page.expect_download() as download:
        page.get_by_role("button", name="Export all entries").click()
    download.value.save_as(tmp_path / "export.jsonl")
    key = read_public_key(tmp_path / "public.key")
    found = verify_export(tmp_path / "export.jsonl", key, [read_checkpoint(tmp_path / "kept.checkpoint", key)])
    assert found.ok, found.problems
    assert errors == []


PAGES = {
    UserRole.OFFICER: (
        "/search?q=refund+OR+return&severity=high&severity=low",
        "/search?q=nothing+here",
        "/calls/CALL",
        "/calls/MONO",
        "/account",
    ),
    UserRole.SUPERVISOR: ("/live", "/alerts"),
    UserRole.AUDITOR: ("/audit", "/audit/entries/0", "/audit/proof"),
    UserRole.ADMINISTRATOR: ("/users", "/health"),
}

_POOR_CONTRAST = (Path(__file__).parent.parent / "builders" / "poor_contrast.js").read_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("role", UserRole)
def test_pages_fit_the_screen_and_can_be_read(
    browser: Browser, console: ServedConsole, role: UserRole, scheme: str
) -> None:
    page, errors = open_console(browser, console.url, role, color_scheme=scheme)
    for path in PAGES[role]:
        page.goto(console.url + path.replace("CALL", console.made.calls[0].call).replace("MONO", MONO.call))
        for width in (1280, 390):
            page.set_viewport_size({"width": width, "height": 844})
            assert _overflow(page) <= 0, (path, width)
        assert page.evaluate(_POOR_CONTRAST) == [], path
    assert errors == []


def _overflow(page: Page) -> int:
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


def test_searching_and_reading_need_no_scripts(browser: Browser, console: ServedConsole) -> None:
    page, _ = open_console(browser, console.url, UserRole.OFFICER, java_script_enabled=False)
    page.fill("[name=q]", "refund")
    page.get_by_role("button", name="Search").click()
    expect(page.locator(".hit").first).to_be_visible()
    page.locator(".hit h2 a").first.click()
    expect(page.locator(".turn").first).to_be_visible()
    expect(page.locator(".finding").first).to_be_visible()
    expect(page.locator("audio")).to_be_visible()
