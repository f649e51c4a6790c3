"""From a SIP call to the browser: a supervisor follows it as it is spoken, an officer finds and hears it after."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from console.demo import load_demo_call
from console.users import UserRole
from telephony.caller import Caller
from tests.builders.browser import chromium, open_console, until
from tests.builders.engine import RunningEngine, running_engine
from tests.builders.journey import complete, newest_call, siprec_call, wired
from tests.builders.made_console import NAMES, PASSWORD

pytestmark = [pytest.mark.browser, pytest.mark.slow]

# The card number, the code and the telephone number of the demo call, as words and as figures.
READ_ALOUD = re.compile(r"\bfour two four two\b|\bone two three\b|4242|5552347896", re.IGNORECASE)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningEngine]:
    data = tmp_path_factory.mktemp("whole") / "data"
    wiring = wired(data)
    for role, name in NAMES.items():
        wiring.users.add(name, role, PASSWORD)
    wiring.close()
    with running_engine(data) as engine:
        yield engine


def place_demo_call(engine: RunningEngine) -> None:
    demo = load_demo_call()
    caller = Caller(engine.sip, transport="tcp")
    with siprec_call(engine, caller) as placed:
        placed.send((demo.agent, demo.customer))
    caller.close()


def said(page: Page) -> str:
    return " ".join(page.locator("main").inner_text().split())


def test_a_call_is_followed_found_and_heard(engine: RunningEngine, browser: Browser, tmp_path: Path) -> None:
    url = f"http://{engine.http}"
    live, live_errors = open_console(browser, url, UserRole.SUPERVISOR)
    expect(live.locator("#connection")).to_have_text("live")
    calling = threading.Thread(target=place_demo_call, args=(engine,))
    calling.start()
    try:
        live.locator(".live-card").click(timeout=60_000)
        expect(live.locator(".turn").first).to_be_visible(timeout=60_000)
        expect(live.locator(".alert", has_text="Promise").first).to_be_visible(timeout=60_000)
        expect(live.locator(".turn .w.gone").first).to_be_visible(timeout=90_000)
        expect(live.locator(".elapsed")).to_have_text("ended", timeout=90_000)
    finally:
        calling.join(180)
    assert not READ_ALOUD.search(said(live))
    live.locator(".alert", has_text="Promise").first.get_by_role("button", name="Acknowledge").click()
    live.wait_for_load_state()
    assert live_errors == []

    wiring = wired(engine.data)
    call = newest_call(wiring)
    complete(wiring, call)
    wiring.close()
    page, errors = open_console(browser, url, UserRole.OFFICER)
    page.fill("[name=q]", '"guaranteed return"')
    page.press("[name=q]", "Enter")
    expect(page.locator(".hit")).to_have_count(1)
    expect(page.locator(".hit mark").first).to_contain_text("guarantee")
    page.locator(".hit h2 a").click()
    expect(page).to_have_url(f"{url}/calls/{call}")
    expect(page.locator(".finding", has_text="FIN-GUARANTEE").first).to_be_visible()
    expect(page.locator(".finding", has_text="REC-CONSENT")).to_be_visible()
    expect(page.locator(".finding", has_text=NAMES[UserRole.SUPERVISOR])).to_have_count(1)
    for hidden in ("card number", "verification code", "phone number", "person name"):
        expect(page.locator(".turn .w.gone", has_text=hidden).first).to_be_visible()
    assert not READ_ALOUD.search(said(page))
    word = page.locator(".w.found", has_text="guarantee").first
    start_s = int(word.get_attribute("data-s") or 0) / 1000
    word.click()
    until(
        page,
        f"!document.getElementById('audio').paused && document.getElementById('audio').currentTime > {start_s}",
    )
    until(page, "document.querySelectorAll('.w.now').length > 0")
    assert errors == []

    audit, _ = open_console(browser, url, UserRole.AUDITOR)
    for action in ("play", "view call", "search", "acknowledge alert", "view live"):
        expect(audit.locator("tbody b", has_text=re.compile(f"^{action}$")).first).to_be_visible()
    audit.goto(f"{url}/audit/proof")
    audit.get_by_role("button", name="Verify the log").click()
    expect(audit.get_by_text("The log is complete and unchanged")).to_be_visible()
