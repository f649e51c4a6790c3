"""Words for reading and as they were spoken, of a call that is over and of one in progress, in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from console.users import UserRole
from console.web.services import WebSettings
from events.call_document import CallDocument
from events.codec import Record
from events.identity import Role
from events.lifecycle import CallSourceKind, CallStarted, LegAdded
from events.topics import CALL_LIFECYCLE, TRANSCRIPT_PARTIAL, TRANSCRIPT_REDACTED, Topic
from events.transcript import RedactedSegment, SegmentStatus, Word
from tests.builders.browser import chromium, open_console, until
from tests.builders.made_calls import made_call
from tests.builders.made_console import MadeConsole, ServedConsole, served

pytestmark = pytest.mark.browser


_POOR_CONTRAST = (Path(__file__).parent.parent / "builders" / "poor_contrast.js").read_text()


def say(document: CallDocument, place: int, text: str) -> CallDocument:
    """Let segment `place` say something else, in the same time."""
    segment, texts = document.segments[place], text.split()
    step = (segment.end_ms - segment.start_ms) // len(texts)
    words = tuple(
        Word(word, segment.start_ms + n * step, segment.start_ms + (n + 1) * step - 20, 0.9)
        for n, word in enumerate(texts)
    )
    segments = (*document.segments[:place], replace(segment, words=words), *document.segments[place + 1 :])
    return replace(document, segments=segments)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedConsole]:
    settings = WebSettings(site="Harbor Mutual", mask_profanity=True)
    made = MadeConsole(tmp_path_factory.mktemp("console"), settings=settings)
    document = say(
        made_call(0), 6, "okay what is two thousand five hundred dollars at six point five percent shit"
    )
    document = say(document, 8, "alright call me at eight thirty p m on march third")
    made.calls = [made.keep(document)]
    with served(made) as console:
        yield console
    made.close()


def test_words_are_shown_for_reading_and_as_spoken(browser: Browser, console: ServedConsole) -> None:
    page, errors = open_console(browser, console.url, UserRole.OFFICER)
    address = f"{console.url}/calls/{console.made.calls[0].call}"
    page.goto(address)
    turn = page.locator(".turn").nth(6)
    reading, spoken = turn.locator("p.for-reading"), turn.locator("p.as-spoken")
    expect(spoken).to_be_hidden()
    expect(reading).to_contain_text("$2,500 at 6.5%")
    expect(reading).to_contain_text("s***")
    amount = reading.locator(".w", has_text="$2,500")
    assert amount.get_attribute("title") == "Said: two thousand five hundred dollars"
    raw = console.made.calls[0].segments[6].words
    assert int(amount.get_attribute("data-s") or 0) == raw[3].start_ms
    assert int(amount.get_attribute("data-e") or 0) == raw[7].end_ms
    expect(page.locator("p.for-reading .w.gone").first).to_have_text("person name")
    expect(page.locator("p.for-reading .w.found.high").first).to_be_visible()

    amount.click()
    until(page, f"document.getElementById('audio').currentTime * 1000 >= {raw[3].start_ms}")
    page.get_by_role("button", name="Pause").click()

    page.get_by_text("As spoken").click()
    expect(reading).to_be_hidden()
    expect(spoken).to_have_text("okay what is two thousand five hundred dollars at six point five percent s***")
    expect(page.locator("p.as-spoken .w.found.high").first).to_have_text("guaranteed")

    page.goto(address)
    expect(page.locator("p.as-spoken").first).to_be_visible()
    expect(page.locator("p.for-reading").first).to_be_hidden()
    page.get_by_label("As spoken").focus()
    page.keyboard.press("ArrowLeft")
    expect(page.locator("p.for-reading").first).to_be_visible()
    assert errors == []


def test_the_switch_needs_no_scripts(browser: Browser, console: ServedConsole) -> None:
    page, _ = open_console(browser, console.url, UserRole.OFFICER, java_script_enabled=False)
    page.goto(f"{console.url}/calls/{console.made.calls[0].call}")
    expect(page.locator("p.for-reading").first).to_be_visible()
    page.get_by_text("As spoken").click()
    expect(page.locator("p.as-spoken").first).to_be_visible()
    expect(page.locator("p.for-reading").first).to_be_hidden()


def _put(console: ServedConsole, topic: Topic, *records: Record) -> None:
    console.made.log.append(topic, [console.made.sealer.event(topic, record) for record in records])


def _partial(segment: RedactedSegment, words: int, stable: int) -> RedactedSegment:
    return replace(
        segment, status=SegmentStatus.PARTIAL, words=segment.words[:words], revision=words, stable_words=stable
    )


def test_a_call_in_progress_is_read_along_and_text_that_is_settled_stays(
    browser: Browser, console: ServedConsole
) -> None:
    document = say(
        made_call(40, recorded=False), 0, "it is twenty three dollars per month oh shit for [PERSON_NAME] now"
    )
    said = document.segments[0]
    console.made.keys.create(document.call)
    _put(
        console,
        CALL_LIFECYCLE,
        CallStarted(document.call, console.made.clock.now_ms(), CallSourceKind.SIP),
        LegAdded(document.call, 0, 0, Role.AGENT, True, speaker_name="Laura Bennett"),
    )
    page, errors = open_console(browser, console.url, UserRole.SUPERVISOR)
    page.locator(".live-card").click()
    expect(page.locator("#connection")).to_have_text("live")
    reading, spoken = page.locator(".turn p.for-reading"), page.locator(".turn p.as-spoken")

    _put(console, TRANSCRIPT_PARTIAL, _partial(said, 4, 2))
    expect(reading).to_have_text("It is twenty three")
    expect(reading.locator(".unsure")).to_have_count(3)
    _put(console, TRANSCRIPT_PARTIAL, _partial(said, 8, 7))
    expect(reading).to_have_text("It is $23 per month oh")
    expect(reading.locator(".unsure")).to_have_text(["per", "month", "oh"])
    amount = reading.locator(".w", has_text="$23")
    assert amount.get_attribute("title") == "Said: twenty three dollars"
    page.evaluate("document.querySelector('.for-reading').children[2].dataset.seen = 'yes'")
    _put(console, TRANSCRIPT_PARTIAL, _partial(said, 10, 10))
    expect(reading).to_have_text("It is $23 per month oh s*** for")
    assert amount.get_attribute("data-seen") == "yes", "what is shown already keeps its element"

    page.get_by_text("As spoken").click()
    expect(spoken).to_have_text("it is twenty three dollars per month oh s*** for")
    expect(reading).to_be_hidden()
    _put(console, TRANSCRIPT_REDACTED, said)
    expect(page.locator(".turn.partial")).to_have_count(0)
    expect(spoken.locator(".gone")).to_have_text("person name")
    page.reload()
    expect(spoken).to_be_visible()
    page.get_by_text("For reading").click()
    expect(reading).to_contain_text("It is $23 per month")
    expect(reading.locator(".unsure")).to_have_count(0)
    expect(reading.locator(".gone")).to_have_text("person name")

    _put(console, TRANSCRIPT_PARTIAL, _partial(document.segments[1], 6, 4))
    for path in ("/live", f"/live/{document.call}"):
        page.goto(console.url + path)
        expect(page.locator(".partial .unsure").first).to_be_visible()
        for width in (1280, 390):
            page.set_viewport_size({"width": width, "height": 844})
            wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            assert wide <= 0, (path, width)
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            assert page.evaluate(_POOR_CONTRAST) == [], (path, scheme)
    assert errors == []
