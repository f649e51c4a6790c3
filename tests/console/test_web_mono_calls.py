"""A call that came in one channel: who said which words is on its page, in the terminal and in its export."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator

import pytest
from rich.console import Console

from console.call_view import print_call
from console.users import UserRole
from events.call_document import CallDocument
from tests.builders.made_calls import made_call
from tests.builders.made_console import MadeConsole
from tests.builders.mono_calls import mono_call
from tests.builders.web_visitor import Visitor, text_of

TURN = re.compile(
    r'<li class="turn(?P<again> again)? mixed" data-leg="0">.*?'
    r'<span class="speaker (?P<css>[a-z-]+)">(?P<name>[^<]+)</span>.*?<p class="as-spoken">(?P<words>.*?)</p>',
    re.DOTALL,
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MadeConsole]:
    made = MadeConsole(tmp_path_factory.mktemp("console"))
    made.calls = [made.keep(mono_call(0)), made.keep(mono_call(4, told_apart=False))]
    yield made
    made.close()


@pytest.fixture(scope="module")
def officer(made: MadeConsole) -> Visitor:
    return Visitor(made.app(), UserRole.OFFICER)


def plain(words: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", words).split())


def spoken(document: CallDocument) -> list[tuple[str, str]]:
    """What was said and by which voice, as the made call has it before its legs are put together."""
    lines = made_call(0, recorded=False).segments
    assert document.call == made_call(0, recorded=False).call
    return [
        ("Speaker B" if line.leg else "Speaker A", re.sub(r"\[([A-Z_]+)\]", _shown, line.text)) for line in lines
    ]


def _shown(placeholder: re.Match[str]) -> str:
    return placeholder[1].lower().replace("_", " ")


def test_segments_are_cut_where_the_speaker_changes(officer: Visitor, made: MadeConsole) -> None:
    text = officer.get(f"/calls/{made.calls[0].call}").text
    turns = list(TURN.finditer(text))
    assert [(turn["name"], plain(turn["words"])) for turn in turns] == spoken(made.calls[0])
    assert {(turn["name"], turn["css"]) for turn in turns} == {("Speaker A", "voice-a"), ("Speaker B", "voice-b")}
    assert [bool(turn["again"]) for turn in turns] == [
        before is not None and before["name"] == turn["name"]
        for before, turn in zip([None, *turns], turns, strict=False)
    ]
    assert len(made.calls[0].segments) < len(turns)
    anchors = re.findall(r'class="at" href="#t=(\d+)" id=', text)
    assert len(anchors) == len(set(anchors)) == len(turns)


def test_what_was_hidden_stays_hidden_on_either_side_of_a_cut(officer: Visitor, made: MadeConsole) -> None:
    words = text_of(officer.get(f"/calls/{made.calls[0].call}"))
    for kind in ("person name", "card number", "card expiry", "verification code", "phone number"):
        assert kind in words


def test_the_page_says_how_long_each_speaks_and_how_that_is_known(officer: Visitor, made: MadeConsole) -> None:
    answer = officer.get(f"/calls/{made.calls[0].call}")
    assert "Told apart by voice." in text_of(answer)
    assert answer.text.count('class="key voice-') == 2
    lines = made_call(0, recorded=False).segments
    assert answer.text.count('class="sound-of voice-a"') == sum(line.leg == 0 for line in lines)
    assert answer.text.count('class="sound-of voice-b"') == sum(line.leg == 1 for line in lines)


def test_a_mono_call_with_one_voice_looks_as_before(officer: Visitor, made: MadeConsole) -> None:
    answer = officer.get(f"/calls/{made.calls[1].call}")
    turns = list(TURN.finditer(answer.text))
    assert {(turn["name"], turn["css"]) for turn in turns} == {("Both parties", "mixed")}
    assert len(turns) == len(made.calls[1].segments)
    assert "voice" not in text_of(answer)


def test_an_export_says_who_said_which_words(officer: Visitor, made: MadeConsole) -> None:
    reason = {"reason": "Complaint 2211"}
    package = officer.post(f"/calls/{made.calls[0].call}/export", reason).json()
    lines = made_call(0, recorded=False).segments
    assert [(line["speaker"], line["text"]) for line in package["speakers"]] == [
        ("Speaker B" if line.leg else "Speaker A", line.text) for line in lines
    ]
    assert {line["segment"] for line in package["speakers"]} == {one.id for one in made.calls[0].segments}
    assert "speakers" not in officer.post(f"/calls/{made.calls[1].call}/export", reason).json()


def test_the_terminal_says_it_too() -> None:
    screen = Console(width=200, file=io.StringIO(), color_system=None)
    print_call(screen, mono_call(0), as_spoken=True)
    printed = screen.file.getvalue()  # type: ignore[attr-defined]
    assert re.search(r"Speaker A\s+my name is laura how can i help you today", printed)
    assert re.search(r"Speaker B\s+\[CARD_EXPIRY\] and the code is \[VERIFICATION_CODE\]", printed)
    assert "told apart by voice" in printed
